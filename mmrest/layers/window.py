"""Window attention, and a convolution across windows."""

from __future__ import annotations

from typing import Callable

import torch
from torch import Tensor, nn

from ..ops import call_layer
from .tokens import to_map, to_tokens


def window_partition(x: Tensor, window_shape: tuple[int, int]) -> Tensor:
    """Partition a map into non-overlapping windows: (B, H, W, C) -> (B * num_windows, h * w, C).

    Args:
        x (Tensor): Map; H and W are multiples of h and w.
        window_shape (tuple[int, int]): (h, w).
    """
    h, w = window_shape
    x = x.unflatten(2, (-1, w)).unflatten(1, (-1, h))
    return x.transpose(2, 3).flatten(0, 2).flatten(1, 2)


def window_unpartition(windows: Tensor, window_shape: tuple[int, int], map_shape: tuple[int, int]) -> Tensor:
    """Reverse :func:`window_partition`: (B * num_windows, h * w, C) -> (B, H, W, C), with ``map_shape=(H, W)``."""
    h, w = window_shape
    x = windows.unflatten(1, (h, w)).unflatten(0, (-1, map_shape[0] // h, map_shape[1] // w))
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def attend_in_windows(
    attn: Callable[[Tensor, tuple[int, int]], Tensor], x: Tensor, hw_shape: tuple[int, int], window_size: int
) -> Tensor:
    """Apply an attention to every window of a map separately.

    Windows are laid out from the upper left corner; those at the right and bottom border are smaller where the map
    is not a multiple of the window. Without padding there are no padded tokens to mask. Full windows, those at the
    right, those at the bottom and the one in the corner form up to four batches of one shape each.

    Args:
        attn (Callable): ``attn(tokens, hw_shape)``; tokens (B, h * w, C) in and out.
        x (Tensor): (B, H * W, C).
        hw_shape (tuple[int, int]): (H, W).
        window_size (int): Side of a window in tokens.

    Returns:
        Tensor: (B, H * W, C).
    """
    x = x.unflatten(1, hw_shape)
    rows = []
    for strip in _split_remainder(x, 1, window_size):
        parts = []
        for part in _split_remainder(strip, 2, window_size):
            map_shape = (part.shape[1], part.shape[2])
            window_shape = (min(window_size, map_shape[0]), min(window_size, map_shape[1]))
            windows = attn(window_partition(part, window_shape), window_shape)
            parts.append(window_unpartition(windows, window_shape, map_shape))
        rows.append(torch.cat(parts, dim=2))
    return torch.cat(rows, dim=1).flatten(1, 2)


def _split_remainder(x: Tensor, dim: int, size: int) -> list[Tensor]:
    """Split a dimension into a multiple of ``size`` and the remainder; empty parts are left out."""
    full = x.shape[dim] // size * size
    return [part for part in x.split([full, x.shape[dim] - full], dim) if part.shape[dim]]


class CrossWindowConv(nn.Module):
    """Cross-window connection of the style 'cwin': ``x + depthwise 7x7 convolution of x`` over the whole map.

    The backbone initializes it to zero, so that a pretrained network initially computes the same features.

    Args:
        embed_dims (int): Number of channels.
    """

    def __init__(self, embed_dims: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(embed_dims, embed_dims, kernel_size=7, padding=3, groups=embed_dims)

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """(B, H * W, C) -> (B, H * W, C), with ``hw_shape=(H, W)``."""
        return x + to_tokens(call_layer(self.conv, to_map(x, hw_shape)))
