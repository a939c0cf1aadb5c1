"""Numbers in JSON files."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

# Larger numbers are no coordinates or sizes of an image.
_LIMIT = 1e12


def to_numbers(values: list) -> np.ndarray:
    """Return values as float64; NaN where one is no number, or one that no image has."""
    if set(map(type, values)) <= {int, float}:
        try:
            numbers = np.array(values, np.float64)
            return np.where(np.abs(numbers) < _LIMIT, numbers, np.nan)
        except OverflowError:  # a whole number of hundreds of digits
            pass
    return np.array([value if is_number(value) else np.nan for value in values], np.float64)


def is_whole(value: Any) -> bool:
    return type(value) is int or type(value) is float and value.is_integer()


def is_number(value: Any) -> bool:
    return type(value) in (int, float) and -_LIMIT < value < _LIMIT  # which also leaves out what is not finite


def shorten(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + '...'
