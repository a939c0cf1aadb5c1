"""Adaptive average pooling in a form that a graph of any size can hold."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AveragingPool2d(nn.Module):
    """``nn.AdaptiveAvgPool2d`` as two matrix products, the same values up to rounding.

    Bin i of k over n pixels averages the pixels from floor(i n / k) up to, not including, ceil((i + 1) n / k).
    Bins of neighbours overlap where k does not divide n, which no pooling of a fixed window can do; so ONNX has
    no operator for it. A matrix with the weights of every bin as a row is made from the size of the map.

    Args:
        output_size (tuple[int | None, int | None]): Bins in rows and columns; None: as many as there are pixels.
    """

    def __init__(self, output_size: tuple[int | None, int | None]) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, *output_size)."""
        rows, columns = self.output_size
        if columns is not None:
            x = x @ averaging_matrix(x.shape[-1], columns, x).t()
        if rows is not None:
            x = averaging_matrix(x.shape[-2], rows, x) @ x
        return x


def averaging_matrix(pixels: int, bins: int, like: Tensor) -> Tensor:
    """(bins, pixels): what each pixel contributes to each bin. In the dtype and on the device of ``like``."""
    bin_index = torch.arange(bins, device=like.device)[:, None]
    pixel = torch.arange(pixels, device=like.device)[None]
    start = bin_index * pixels // bins
    end = ((bin_index + 1) * pixels + bins - 1) // bins
    inside = ((pixel >= start) & (pixel < end)).to(like.dtype)
    return inside / (end - start).to(like.dtype)


def replace_adaptive_pools(module: nn.Module) -> None:
    """Replace, in place, every adaptive average pooling to more than one bin; one bin is a plain mean already."""
    for name, child in module.named_children():
        if isinstance(child, nn.AdaptiveAvgPool2d):
            size = child.output_size
            size = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
            if size != (1, 1):
                setattr(module, name, AveragingPool2d(size))
        else:
            replace_adaptive_pools(child)
