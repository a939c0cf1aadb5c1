"""Comparisons of tensors that name what differs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import torch

# Of tensors, arrays, and mappings or sequences of them: the same to the last bit, and of the same type.
assert_equal = partial(torch.testing.assert_close, rtol=0, atol=0)


def find_non_finite(tensors: Mapping[Any, torch.Tensor] | Iterable[torch.Tensor]) -> list:
    """Return the names, or the places in a sequence, of tensors that hold a NaN or an infinity."""
    named = tensors.items() if isinstance(tensors, Mapping) else enumerate(tensors)
    return [name for name, tensor in named if not tensor.isfinite().all()]


def find_non_finite_grads(model: torch.nn.Module) -> list[str]:
    """Return the names of trainable parameters whose gradient is missing or not finite."""
    return [
        name
        for name, param in model.named_parameters()
        if param.requires_grad and (param.grad is None or not param.grad.isfinite().all())
    ]
