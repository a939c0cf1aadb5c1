"""Values in JSON files."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

# Larger numbers cannot be coordinates or sizes of an image.
_LIMIT = 1e12


def to_numbers(values: list) -> np.ndarray:
    """Convert values to float64; NaN for values that are not numbers or out of range."""
    if set(map(type, values)) <= {int, float}:
        try:
            numbers = np.array(values, np.float64)
            return np.where(np.abs(numbers) < _LIMIT, numbers, np.nan)
        except OverflowError:  # an integer with hundreds of digits
            pass
    return np.array([value if is_number(value) else np.nan for value in values], np.float64)


def is_integer(value: Any) -> bool:
    """Return True for integers, also as floats, but not for bools."""
    return type(value) is int or type(value) is float and value.is_integer()


def is_number(value: Any) -> bool:
    """Return True for numbers in range; NaN and infinity are not."""
    return type(value) in (int, float) and -_LIMIT < value < _LIMIT


def shorten(value: Any) -> str:
    """Return the JSON of a value, shortened for messages."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + '...'
