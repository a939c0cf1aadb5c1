"""The two forms of a feature map: (B, C, H, W) between stages, tokens (B, H * W, C) inside a stage."""
from __future__ import annotations

from torch import Tensor


def to_map(x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
    """(B, H * W, C) -> (B, C, H, W), with ``hw_shape=(H, W)``."""
    return x.transpose(1, 2).unflatten(2, hw_shape)


def to_tokens(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H * W, C)."""
    return x.flatten(2).transpose(1, 2)
