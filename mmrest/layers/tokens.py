"""Conversion between feature maps (B, C, H, W) and tokens (B, H * W, C)."""

from __future__ import annotations

from torch import Tensor


def to_map(x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
    """(B, H * W, C) -> (B, C, H, W), with ``hw_shape=(H, W)``."""
    # Unflatten before permute: in the other order, a batch of one image gets strides, also in the backward pass, that
    # convolutions do not recognize as channels-last and for which BatchNorm on CPUs computes wrong gradients.
    return x.unflatten(1, hw_shape).permute(0, 3, 1, 2)


def to_tokens(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H * W, C)."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)
