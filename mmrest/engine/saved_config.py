"""Reading of the config in a checkpoint without running its Python code."""

from __future__ import annotations

import ast
from typing import Any


def read_saved_config(meta: dict) -> dict[str, Any]:
    """Return the top-level variables of the config in the ``meta`` of a checkpoint.

    Args:
        meta (dict): ``meta`` of a checkpoint saved by mmengine.

    Returns:
        dict: Values that consist of dicts, lists, tuples, numbers and strings; others are skipped. Empty if there is no
            config.
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
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict' and len(node.args) < 2:
        # mmengine writes dict({'a.b': 1}) where a key is not a name.
        given = [_evaluate(each) for each in node.args]
        return {**dict(*given), **{each.arg: _evaluate(each.value) for each in node.keywords if each.arg}}
    if isinstance(node, ast.Dict):
        return {ast.literal_eval(key): _evaluate(value) for key, value in zip(node.keys, node.values) if key}
    if isinstance(node, (ast.List, ast.Tuple)):
        values = [_evaluate(each) for each in node.elts]
        return values if isinstance(node, ast.List) else tuple(values)
    return ast.literal_eval(node)
