"""Deformable convolution (Dai et al., 2017; Zhu et al., 2019) and multi-scale deformable attention (Zhu et al., 2021).

Arguments are those of ``mmcv._ext``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .common import as_compiled, torchvision_ops, widen


def _fitting(values: Tensor, channels: int, size: tuple[int, int]) -> Tensor:
    """Return offsets or masks (B, channels, H', W') for an output of ``size``.

    Where they are made for a larger map, as in DyHead, mmcv reads the numbers of each image in their order in memory
    as if they were for this one.

    Raises:
        ValueError: They have too few numbers.
    """
    if tuple(values.shape[2:]) == tuple(size):
        return values
    count = channels * size[0] * size[1]
    if values[0].numel() < count:
        raise ValueError(
            f'Deformable convolution: offsets and masks of {tuple(values.shape)} are too few for an '
            f'output of {tuple(size)}.'
        )
    return values.flatten(1)[:, :count].reshape(-1, channels, *size)


def _put(target: Tensor, grad: Tensor) -> None:
    """Write a gradient for :func:`_fitting` values to where these were in memory."""
    if target.shape == grad.shape:
        target.copy_(grad)
    else:
        target.view(len(target), -1)[:, : grad[0].numel()] = grad.flatten(1).to(target.dtype)


def _arguments(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    size: tuple[int, int],
    groups: int,
) -> list[Tensor]:
    """Return input, weight, offset, mask and bias as torchvision takes them."""
    input = widen(input)
    taps = groups * weight.shape[2] * weight.shape[3]
    offset = _fitting(offset, 2 * taps, size)
    mask = input.new_zeros(len(input), 1) if mask is None else _fitting(mask, taps, size)
    bias = input.new_zeros(len(weight)) if bias is None else bias
    return [input, *(tensor.to(input.dtype) for tensor in (weight, offset, mask, bias))]


def _forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    output: Tensor,
    geometry: tuple[int, ...],
    groups: int,
    deform_groups: int,
) -> None:
    tensors = _arguments(input, weight, offset, mask, bias, output.shape[2:], deform_groups)
    output.copy_(torchvision_ops().deform_conv2d(*tensors, *geometry, groups, deform_groups, mask is not None))


def _backward(
    grad: Tensor,
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    geometry: tuple[int, ...],
    groups: int,
    deform_groups: int,
) -> tuple[Tensor, ...]:
    """Return the gradients of input, weight, offset, mask and bias."""
    tensors = _arguments(input, weight, offset, mask, bias, grad.shape[2:], deform_groups)
    return torchvision_ops()._deform_conv2d_backward(
        grad.to(tensors[0].dtype), *tensors, *geometry, groups, deform_groups, mask is not None
    )


@as_compiled
def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Write the deformable convolution (B, D, H', W') of ``input`` (B, C, H, W) to ``output``."""
    _forward(
        input, weight, offset, None, None, output, (dH, dW, padH, padW, dilationH, dilationW), group, deformable_group
    )


@as_compiled
def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradInput: Tensor,
    gradOffset: Tensor,
    weight: Tensor,
    columns: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Write the gradients of the input and of the offsets."""
    grads = _backward(
        gradOutput,
        input,
        weight,
        offset,
        None,
        None,
        (dH, dW, padH, padW, dilationH, dilationW),
        group,
        deformable_group,
    )
    gradInput.copy_(grads[0])
    _put(gradOffset, grads[2])


@as_compiled
def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradWeight: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    scale: float,
    im2col_step: int,
) -> None:
    """Add ``scale`` times the gradient of the weights to ``gradWeight``."""
    grads = _backward(
        gradOutput,
        input,
        gradWeight,
        offset,
        None,
        None,
        (dH, dW, padH, padW, dilationH, dilationW),
        group,
        deformable_group,
    )
    gradWeight.add_(grads[1].to(gradWeight.dtype), alpha=scale)


@as_compiled
def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Write the modulated deformable convolution (B, D, H', W') of ``input`` (B, C, H, W) to ``output``."""
    _forward(
        input,
        weight,
        offset,
        mask,
        bias if with_bias else None,
        output,
        (stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w),
        group,
        deformable_group,
    )


@as_compiled
def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Write the gradients of all inputs; ``grad_bias`` stays as it is without a bias."""
    grads = _backward(
        grad_output,
        input,
        weight,
        offset,
        mask,
        bias if with_bias else None,
        (stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w),
        group,
        deformable_group,
    )
    grad_input.copy_(grads[0])
    grad_weight.copy_(grads[1])
    _put(grad_offset, grads[2])
    _put(grad_mask, grads[3])
    if with_bias:
        grad_bias.copy_(grads[4])


def _sample_level(
    value: Tensor, height: Tensor, width: Tensor, start: Tensor, locations: Tensor, weights: Tensor
) -> Tensor:
    """Sample one level of ``value`` (B, keys, heads, d): (B, queries, heads, d).

    Height, width and start are tensors and stay on their device, so nothing waits for it.
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


def _wide_arguments(value: Tensor, locations: Tensor, weights: Tensor) -> list[Tensor]:
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
    """Return (B, queries, heads * d) for ``value`` (B, keys, heads, d).

    ``sampling_locations`` is (B, queries, heads, levels, points, 2) with x and y in [0, 1], ``attention_weights`` the
    same without the last dimension.
    """
    wide, locations, weights = _wide_arguments(value, sampling_locations, attention_weights)
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
    """Write the gradients; one level after another is sampled once more for its own."""
    wide, locations, weights = _wide_arguments(value, sampling_locations, attention_weights)
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
