"""Multi-scale deformable attention (Zhu et al., 2021).

Arguments are those of ``mmcv._ext``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .common import as_compiled


def _sample_level(
    value: Tensor, height: Tensor, width: Tensor, start: Tensor, locations: Tensor, weights: Tensor
) -> Tensor:
    """Sample one level of ``value`` (B, keys, heads, d) bilinearly: (B, queries, heads, d).

    Height, width and start index are tensors on the device, which avoids a synchronization.
    """
    batch, keys, heads, dim = value.shape
    x = locations[..., 0] * width - 0.5
    y = locations[..., 1] * height - 0.5
    rows = value.reshape(-1, dim)
    images = torch.arange(batch, device=value.device)[:, None, None, None] * keys
    head = torch.arange(heads, device=value.device)[:, None]
    left, top = x.floor(), y.floor()
    right_share, bottom_share = x - left, y - top
    output = 0
    for column, column_share in ((left, 1 - right_share), (left + 1, right_share)):
        for row, row_share in ((top, 1 - bottom_share), (top + 1, bottom_share)):
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            share = torch.where(inside, column_share * row_share, 0) * weights
            place = torch.where(inside, start + row * width + column, 0).long()
            taken = rows[(images + place) * heads + head]  # (B, queries, heads, points, d)
            output = output + torch.einsum('bqmp,bqmpd->bqmd', share, taken.to(share.dtype))
    return output


def _upcast_arguments(value: Tensor, locations: Tensor, weights: Tensor) -> list[Tensor]:
    dtype = torch.promote_types(value.dtype, torch.float32)
    return [value.to(dtype), locations.to(dtype), weights.to(dtype)]


@as_compiled
def ms_deform_attn_forward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    """Compute multi-scale deformable attention.

    Args:
        value (Tensor): (B, keys, heads, d).
        value_spatial_shapes (Tensor): Height and width of each level (levels, 2).
        value_level_start_index (Tensor): First key of each level (levels,).
        sampling_locations (Tensor): (B, queries, heads, levels, points, 2), with x and y in [0, 1].
        attention_weights (Tensor): (B, queries, heads, levels, points).
        im2col_step (int): Not used.

    Returns:
        Tensor: (B, queries, heads * d).
    """
    wide, locations, weights = _upcast_arguments(value, sampling_locations, attention_weights)
    output = 0
    for level, ((height, width), start) in enumerate(zip(value_spatial_shapes, value_level_start_index)):
        output = output + _sample_level(wide, height, width, start, locations[:, :, :, level], weights[:, :, :, level])
    return output.flatten(2).to(value.dtype)


@as_compiled
def ms_deform_attn_backward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    """Write the gradients, recomputing the samples level by level."""
    wide, locations, weights = _upcast_arguments(value, sampling_locations, attention_weights)
    grad_output = grad_output.to(wide.dtype).view(*sampling_locations.shape[:3], -1)
    total = torch.zeros_like(wide)
    for level, ((height, width), start) in enumerate(zip(value_spatial_shapes, value_level_start_index)):
        with torch.enable_grad():
            leaves = [
                tensor.detach().requires_grad_()
                for tensor in (wide, locations[:, :, :, level], weights[:, :, :, level])
            ]
            output = _sample_level(leaves[0], height, width, start, *leaves[1:])
            grads = torch.autograd.grad(output, leaves, grad_output)
        total += grads[0]
        grad_sampling_loc[:, :, :, level] = grads[1].to(grad_sampling_loc.dtype)
        grad_attn_weight[:, :, :, level] = grads[2].to(grad_attn_weight.dtype)
    grad_value.copy_(total)
