"""Attention inside windows of a feature map, and what lets windows communicate."""

from __future__ import annotations

from typing import Callable

import torch
from torch import Tensor, nn

from ..ops import call_layer
from .tokens import to_map, to_tokens


def partition(x: Tensor, window_shape: tuple[int, int]) -> Tensor:
    """Cut a map into windows: (B, H, W, C) -> (B * number of windows, h * w, C).

    Args:
        x (Tensor): Map whose sides are multiples of the window's.
        window_shape (tuple[int, int]): (h, w).
    """
    h, w = window_shape
    x = x.unflatten(2, (-1, w)).unflatten(1, (-1, h))
    return x.transpose(2, 3).flatten(0, 2).flatten(1, 2)


def merge(windows: Tensor, window_shape: tuple[int, int], map_shape: tuple[int, int]) -> Tensor:
    """Put windows together again: (B * number of windows, h * w, C) -> (B, H, W, C); undoes :func:`partition`."""
    h, w = window_shape
    x = windows.unflatten(1, (h, w)).unflatten(0, (-1, map_shape[0] // h, map_shape[1] // w))
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def windowed(
    attn: Callable[[Tensor, tuple[int, int]], Tensor], x: Tensor, hw_shape: tuple[int, int], window_size: int
) -> Tensor:
    """Apply an attention to every window of a map on its own.

    The map is cut from its upper left corner; windows at the right and lower border are as small as
    what is left there. Nothing is padded, so there are no tokens that must be kept from acting as
    keys: whole windows, those at the right, those at the bottom, and the one in the corner are four
    batches, each of one shape. A window that covers the map makes this ``attn`` itself.

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
    for rows_of_x in _whole_and_rest(x, 1, window_size):
        parts = []
        for part in _whole_and_rest(rows_of_x, 2, window_size):
            map_shape = (part.shape[1], part.shape[2])
            window_shape = (min(window_size, map_shape[0]), min(window_size, map_shape[1]))
            windows = attn(partition(part, window_shape), window_shape)
            parts.append(merge(windows, window_shape, map_shape))
        rows.append(torch.cat(parts, dim=2))
    return torch.cat(rows, dim=1).flatten(1, 2)


def _whole_and_rest(x: Tensor, dim: int, size: int) -> list[Tensor]:
    """What a whole number of windows covers along a dimension, and what is left; either may be absent."""
    whole = x.shape[dim] // size * size
    return [part for part in x.split([whole, x.shape[dim] - whole], dim) if part.shape[dim]]


class CrossWindowConv(nn.Module):
    """Lets windows communicate: ``x + depthwise 7x7 convolution of x``, over the whole map.

    The backbone starts it at zero, so a network with pretrained weights starts as the one that was
    pretrained.

    Args:
        embed_dims (int): Number of channels.
    """

    def __init__(self, embed_dims: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(embed_dims, embed_dims, kernel_size=7, padding=3, groups=embed_dims)

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """(B, H * W, C) -> (B, H * W, C), with ``hw_shape=(H, W)``."""
        return x + to_tokens(call_layer(self.conv, to_map(x, hw_shape)))
