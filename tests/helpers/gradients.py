"""Gradients of a whole model: which are missing, and what they are compared under."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def without_gradient(model: nn.Module) -> list[str]:
    """Return the names of trainable parameters that have no gradient, or one that is not finite."""
    trainable = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    return [name for name, p in trainable if p.grad is None or not p.grad.isfinite().all()]


def assert_close_in_std(actual: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    """Check that no value is off by more than a share of the standard deviation of the expected ones."""
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance * expected.std().item())
