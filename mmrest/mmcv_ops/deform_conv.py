"""Deformable convolution (Dai et al., 2017) and modulated deformable convolution (Zhu et al., 2019).

Arguments are those of ``mmcv._ext``.
"""

from __future__ import annotations

from torch import Tensor

from .common import as_compiled, torchvision_ops, upcast


def _match_output_size(values: Tensor, channels: int, size: tuple[int, int]) -> Tensor:
    """Return offsets or masks (B, channels, H', W') for an output of size (H', W').

    If they have another size, as in DyHead, mmcv reinterprets the memory of each image as (channels, H', W').

    Raises:
        ValueError: There are too few values.
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


def _write_gradient(target: Tensor, grad: Tensor) -> None:
    """Write the gradient of values from :func:`_match_output_size` to the same positions in memory."""
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
    """Return input, weight, offset, mask and bias in the format of torchvision."""
    input = upcast(input)
    taps = groups * weight.shape[2] * weight.shape[3]
    offset = _match_output_size(offset, 2 * taps, size)
    mask = input.new_zeros(len(input), 1) if mask is None else _match_output_size(mask, taps, size)
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
    """Write the gradients of input and offsets to ``gradInput`` and ``gradOffset``."""
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
    _write_gradient(gradOffset, grads[2])


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
    """Write the gradients of all inputs; ``grad_bias`` only with a bias."""
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
    _write_gradient(grad_offset, grads[2])
    _write_gradient(grad_mask, grads[3])
    if with_bias:
        grad_bias.copy_(grads[4])
