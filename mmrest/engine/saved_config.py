"""Reading the config in a checkpoint, which is Python, without running it."""

from __future__ import annotations

import ast
from typing import Any


def read_saved_config(meta: dict) -> dict[str, Any]:
    """Return what the config in a checkpoint's ``meta`` sets at its top level.

    Args:
        meta (dict): Of a checkpoint that mmengine saved.

    Returns:
        dict: Values made of ``dict(...)``, lists, tuples, numbers and text; anything else is left out. Empty if there
        is no config.
    """
    try:
        body = ast.parse(meta.get('cfg') or '').body
    except (SyntaxError, TypeError, ValueError, RecursionError, MemoryError):
        return {}
    values = {}
    for statement in body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            try:
                values[statement.targets[0].id] = _evaluate(statement.value)
            except (ValueError, TypeError, RecursionError):
                continue
    return values


def _evaluate(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict' and not node.args:
        return {each.arg: _evaluate(each.value) for each in node.keywords if each.arg}
    if isinstance(node, ast.Dict):
        return {ast.literal_eval(key): _evaluate(value) for key, value in zip(node.keys, node.values) if key}
    if isinstance(node, (ast.List, ast.Tuple)):
        values = [_evaluate(each) for each in node.elts]
        return values if isinstance(node, ast.List) else tuple(values)
    return ast.literal_eval(node)
