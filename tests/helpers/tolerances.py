"""Tolerances in units of the values compared."""

from __future__ import annotations

import torch
from torch import Tensor


def assert_close_in_std(actual: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    """Check that no value is off by more than a share of the standard deviation of the expected ones."""
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance * expected.std().item())
