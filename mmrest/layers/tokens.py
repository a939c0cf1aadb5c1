"""The two forms of a feature map: (B, C, H, W) between stages, tokens (B, H * W, C) inside a stage."""

from __future__ import annotations

from torch import Tensor


def to_map(x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
    """(B, H * W, C) -> (B, C, H, W), with ``hw_shape=(H, W)``."""
    # Split before the channels move: in the other order a single image gets a batch stride, in the backward pass too,
    # that convolutions do not take for channels-last, and with which PyTorch's BatchNorm on a CPU silently reads its
    # gradient in the wrong order.
    return x.unflatten(1, hw_shape).permute(0, 3, 1, 2)


def to_tokens(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H * W, C)."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)
