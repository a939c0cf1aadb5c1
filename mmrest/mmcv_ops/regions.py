"""RoIAlign (He et al., 2017) and RoIPool (Girshick, 2015).

Arguments are those of ``mmcv._ext``. Regions of interest are ``(n, 5)`` with rows ``image index, x1, y1, x2, y2``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .common import UnsupportedOpError, as_compiled, torchvision_ops, upcast

AVERAGE = 1  # pool_mode; the other one is max pooling


def _refuse_max(pool_mode: int) -> None:
    if pool_mode != AVERAGE:
        raise UnsupportedOpError(
            "RoIAlign with pool_mode='max' exists only in compiled mmcv. Use pool_mode='avg', or "
            'compile mmcv (docs/installation.md).'
        )


def _in_one_dtype(features: Tensor, rois: Tensor) -> tuple[Tensor, Tensor]:
    """Return both in the same dtype, at least float32 for float32 boxes: half precision is inexact above 2048."""
    features = upcast(features)
    dtype = torch.promote_types(features.dtype, rois.dtype)
    return features.to(dtype), rois.to(dtype)


@as_compiled
def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Write the pooled regions (n, C, aligned_height, aligned_width) of ``input`` (B, C, H, W) to ``output``.

    Raises:
        UnsupportedOpError: ``pool_mode`` is not average pooling.
    """
    _refuse_max(pool_mode)
    input, rois = _in_one_dtype(input, rois)
    output.copy_(
        torchvision_ops().roi_align(input, rois, spatial_scale, aligned_height, aligned_width, sampling_ratio, aligned)
    )


@as_compiled
def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Write the gradient of the input (B, C, H, W) to ``grad_input``."""
    _refuse_max(pool_mode)
    grad_output, rois = _in_one_dtype(grad_output, rois)
    grad_input.copy_(
        torchvision_ops()._roi_align_backward(
            grad_output, rois, spatial_scale, aligned_height, aligned_width, *grad_input.shape, sampling_ratio, aligned
        )
    )


@as_compiled
def roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Write the maximum of each bin to ``output`` and its index to ``argmax``, -1 for empty bins.

    Bins are those of mmcv, which unlike torchvision does not round regions to whole pixels. This is a simple loop over
    bins, for compatibility with old models.
    """
    height, width = input.shape[2:]
    argmax.fill_(-1)
    rois = upcast(rois).cpu()
    sides = (rois[:, 3:] + 1) * spatial_scale - rois[:, 1:3] * spatial_scale
    edges = []
    for axis, bins, size in ((1, pooled_height, height), (0, pooled_width, width)):
        start = (rois[:, 1 + axis] * spatial_scale)[:, None]
        step = (sides[:, axis] / bins)[:, None]
        places = torch.arange(bins + 1).to(rois.dtype) * step
        edges.append(
            [
                (places[:, :-1] + start).floor().clamp(0, size).long().tolist(),
                (places[:, 1:] + start).ceil().clamp(0, size).long().tolist(),
            ]
        )
    (tops, bottoms), (lefts, rights) = edges
    for region in torch.nonzero((sides > 0).all(1)).flatten().tolist():
        image = input[int(rois[region, 0])]
        for row in range(pooled_height):
            top, bottom = tops[region][row], bottoms[region][row]
            for column in range(pooled_width):
                left, right = lefts[region][column], rights[region][column]
                if bottom > top and right > left:
                    value, place = image[:, top:bottom, left:right].flatten(1).max(1)
                    output[region, :, row, column] = value
                    argmax[region, :, row, column] = (
                        (top + place // (right - left)) * width + left + place % (right - left)
                    ).to(argmax.dtype)


@as_compiled
def roi_pool_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Write the gradient of the input (B, C, H, W) to ``grad_input``; each bin contributes to its maximum only."""
    batch, channels, height, width = grad_input.shape
    plane = rois[:, :1].long() * channels + torch.arange(channels, device=rois.device)
    place = (plane[:, :, None, None] * (height * width) + argmax.clamp(min=0)).flatten()
    total = torch.zeros(grad_input.numel(), dtype=upcast(grad_output).dtype, device=grad_output.device)
    total.index_add_(0, place, (upcast(grad_output) * (argmax >= 0)).flatten())
    grad_input.copy_(total.view(grad_input.shape))
