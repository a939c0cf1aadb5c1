"""Readable ids of parametrized tests: for long texts, and for what pytest only numbers, e.g. tuples and dtypes."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch

MAX_LENGTH = 40


def pytest_make_parametrize_id(config: Any, val: Any, argname: str) -> str | None:
    """Return a short id of a parameter, or None for one that pytest names well."""
    if isinstance(val, str) and len(val) <= MAX_LENGTH and val.isprintable():
        return None
    text = short_id(val)
    return text and text[:MAX_LENGTH].strip('-,')


def short_id(val: Any) -> str | None:
    """Return a value as a word, e.g. '64x96' for (64, 96) and 'style=win' for a dict; None if it has no such form."""
    if isinstance(val, str):
        return '-'.join(re.findall(r'[\w.=]+', val)) if len(val) > MAX_LENGTH or '\n' in val else val
    if isinstance(val, dict):
        return ','.join(f'{key}={_part(item)}' for key, item in val.items()) or 'default'
    if isinstance(val, (tuple, list, set, frozenset)):
        sizes = all(isinstance(item, int) and not isinstance(item, bool) for item in val)
        return ('x' if sizes else ',').join(_part(item) for item in val) or 'empty'
    if isinstance(val, torch.dtype):
        return str(val).removeprefix('torch.')
    if isinstance(val, (np.ndarray, torch.Tensor)):
        return f'{short_id(val.dtype) or val.dtype}[{short_id(tuple(val.shape))}]'
    if isinstance(val, torch.nn.Module):
        return type(val).__name__
    name = getattr(val, '__name__', None)
    return None if name == '<lambda>' else name


def _part(val: Any) -> str:
    return short_id(val) or str(val)
