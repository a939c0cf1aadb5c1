"""Adaptive average pooling that can be exported at dynamic sizes."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AveragingPool2d(nn.Module):
    """``nn.AdaptiveAvgPool2d`` as two matrix products, with equal values up to rounding.

    Bin i of k over n pixels averages the pixels from floor(i n / k) to ceil((i + 1) n / k) - 1. Neighboring bins
    overlap where k does not divide n, for which ONNX has no operator. Here the weights of the bins are a matrix that
    the graph computes from the size of the map.

    Args:
        output_size (tuple[int | None, int | None]): Number of bins in rows and columns; None keeps the size.
    """

    def __init__(self, output_size: tuple[int | None, int | None]) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, x: Tensor) -> Tensor:
        """Pool maps (B, C, H, W) to (B, C, *output_size)."""
        rows, columns = self.output_size
        if columns is not None:
            x = x @ averaging_matrix(x.shape[-1], columns, x).t()
        if rows is not None:
            x = averaging_matrix(x.shape[-2], rows, x) @ x
        return x


def averaging_matrix(pixels: int, bins: int, like: Tensor) -> Tensor:
    """Return the weight of each pixel in each bin, (bins, pixels), in the dtype and on the device of ``like``."""
    bin_index = torch.arange(bins, device=like.device)[:, None]
    pixel = torch.arange(pixels, device=like.device)[None]
    start = bin_index * pixels // bins
    end = ((bin_index + 1) * pixels + bins - 1) // bins
    inside = ((pixel >= start) & (pixel < end)).to(like.dtype)
    return inside / (end - start).to(like.dtype)


def replace_adaptive_pools(module: nn.Module) -> None:
    """Replace every adaptive average pooling of a module in place, except those to one bin, which are plain means."""
    for name, child in module.named_children():
        if isinstance(child, nn.AdaptiveAvgPool2d):
            size = child.output_size
            size = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
            if size != (1, 1):
                setattr(module, name, AveragingPool2d(size))
        else:
            replace_adaptive_pools(child)
