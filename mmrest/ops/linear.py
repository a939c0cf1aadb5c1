"""Linear layers on tokens, by the faster of PyTorch's two CPU libraries."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .fast_paths import fast_paths_enabled
from .modes import autocast_dtype, is_stock, is_tracing_or_compiling, is_transforming
from .processor import float32_library

# Below, putting the weights in the order that oneDNN wants costs more than is gained (measured on two cores).
MIN_TOKENS = 128
MIN_PRODUCTS = 2**23


def call_linear(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply a linear layer to tokens, (B, N, C) -> (B, N, D).

    A stock layer in float32 is computed as a 1x1 convolution where :func:`~mmrest.ops.processor.float32_library` says
    that oneDNN is faster. Tokens in memory are a channels-last map, so nothing is copied.
    """
    if not fast_paths_enabled() or is_tracing_or_compiling() or not is_stock(layer, nn.Linear):
        return layer(x)
    if not _is_faster_as_conv(x, layer.weight, len(layer.weight)):
        return layer(x)
    return linear_as_conv(x, layer.weight, layer.bias)


def linear_as_conv(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute ``x W^T + b`` as a 1x1 convolution.

    Args:
        x (Tensor): (B, N, C) or (N, C), contiguous.
        weight (Tensor): (D, C).
        bias (Tensor, optional): (D,).

    Returns:
        Tensor: (B, N, D) or (N, D).
    """
    differentiable = any(t is not None and t.requires_grad for t in (x, weight, bias)) and torch.is_grad_enabled()
    if differentiable and not is_transforming():
        return _LinearAsConv.apply(x, weight, bias)
    return _convolve(x, weight, bias)


class _LinearAsConv(torch.autograd.Function):
    """:func:`linear_as_conv` with two convolutions as its backward pass.

    The gradient of a convolution's own bias is a running sum in float32, too inexact over thousands of tokens. Adding
    the bias afterwards, in place, would make autograd copy the gradient of each output several times.
    """

    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(x, weight)
        return _convolve(x, weight, bias)

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        grad = grad.contiguous()
        needed = ctx.needs_input_grad
        return (
            _convolve(grad, weight.t()) if needed[0] else None,
            weight_gradient(grad.flatten(0, -2), x.flatten(0, -2)) if needed[1] else None,
            grad.flatten(0, -2).sum(0) if needed[2] else None,
        )


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute :func:`linear_as_conv` without a backward pass of its own."""
    out = F.conv2d(as_map(x.flatten(0, -2)), weight[..., None, None], bias)
    return out.movedim(1, -1).reshape(*x.shape[:-1], -1)


def as_map(tokens: Tensor) -> Tensor:
    """N tokens, (N, C), as a column of N pixels: (1, C, N, 1), in memory channels-last."""
    return tokens[None, :, None].movedim(-1, 1)


def weight_gradient(grad: Tensor, tokens: Tensor) -> Tensor:
    """Compute ``grad^T tokens``, (N, D) and (N, C) -> (D, C), as the gradient of a 1x1 convolution's weight."""
    weight = grad.new_empty(grad.shape[1], tokens.shape[1], 1, 1)
    geometry = ([1, 1], [0, 0], [1, 1], False, [0, 0], 1)  # stride, padding, dilation, not transposed, groups
    mask = [False, True, False]  # of the gradients of input, weight and bias
    grads = torch.ops.aten.convolution_backward(as_map(grad), as_map(tokens), weight, None, *geometry, mask)
    return grads[1][..., 0, 0]


def fast_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute ``F.linear(x, weight, bias)``, as a convolution where that is faster."""
    if fast_paths_enabled() and not is_tracing_or_compiling() and _is_faster_as_conv(x, weight, len(weight)):
        return linear_as_conv(x, weight, bias)
    return F.linear(x, weight, bias)


def fast_weight_gradient(grad: Tensor, tokens: Tensor) -> Tensor:
    """Compute ``grad^T tokens``, (N, D) and (N, C) -> (D, C), as a convolution where that is faster."""
    if fast_paths_enabled() and grad.is_contiguous() and _is_faster_as_conv(tokens, grad, grad.shape[1]):
        return weight_gradient(grad, tokens)
    return grad.t() @ tokens


def _is_faster_as_conv(x: Tensor, other: Tensor, out_dims: int) -> bool:
    """Tell whether tokens should be convolved to ``out_dims`` channels, with another tensor as the second factor."""
    if x.device.type != 'cpu' or x.dtype != torch.float32 or other.dtype != torch.float32:
        return False
    if x.ndim not in (2, 3) or not x.is_contiguous() or autocast_dtype(x) is not None:
        return False
    # With one thread PyTorch has another, slower form of 1x1 convolutions.
    if float32_library() != 'onednn' or torch.get_num_threads() == 1:
        return False
    tokens = x.shape[:-1].numel()
    return tokens >= MIN_TOKENS and tokens * x.shape[-1] * out_dims >= MIN_PRODUCTS
