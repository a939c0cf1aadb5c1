"""The two forms of a feature map: (B, C, H, W) between stages, tokens (B, H * W, C) inside a stage."""
from __future__ import annotations

import torch
from torch import Tensor

from ..ops import is_transformed


def as_channels_last(x: Tensor) -> Tensor:
    """A map (B, C, H, W) in the memory layout of tokens; with it between stages nothing is ever reordered."""
    if is_transformed():  # vmap has no memory layouts
        return x
    return x.contiguous(memory_format=torch.channels_last)


def to_map(x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
    """(B, H * W, C) -> (B, C, H, W), with ``hw_shape=(H, W)``."""
    # Split before the channels move: the other way round, a single image gets a batch stride, in the
    # backward pass too, that convolutions do not take for channels-last, and that makes PyTorch's
    # BatchNorm on a CPU read its gradient in the wrong order without a word.
    return x.unflatten(1, hw_shape).permute(0, 3, 1, 2)


def to_tokens(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H * W, C)."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)
