"""Linear layers on tokens, by the quicker of PyTorch's two CPU libraries."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .context import autocast_dtype, is_recording, is_stock

# Below, putting the weights in the order that oneDNN wants costs more than is gained (measured on two cores).
MIN_TOKENS = 128
MIN_PRODUCTS = 2**23


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x W^T + b``, as ``F.linear``; for float32 tokens on a CPU computed as a 1x1 convolution.

    PyTorch hands matrix products to MKL, which leaves the AVX-512 units of processors that are not Intel's idle,
    and convolutions to oneDNN, which does not. Tokens in memory are a channels-last map, so nothing is copied.

    Args:
        x (Tensor): (B, N, C) or (N, C).
        weight (Tensor): (D, C).
        bias (Tensor, optional): (D,).

    Returns:
        Tensor: (B, N, D) or (N, D).
    """
    if not _convolves(x, weight):
        return F.linear(x, weight, bias)
    # N tokens are a column of N pixels: (B, C, N, 1) in memory as (B, N, 1, C).
    maps = x.view(-1, *x.shape[-2:]).unsqueeze(2).movedim(-1, 1)
    # The gradient of a convolution's bias is a plain running sum, and one of thousands of tokens is not good to seven
    # digits; so where it is wanted the bias is added after.
    late = bias is not None and bias.requires_grad and torch.is_grad_enabled()
    out = F.conv2d(maps, weight[..., None, None], None if late else bias)
    out = out.movedim(1, -1).reshape(*x.shape[:-1], -1)
    return out.add_(bias) if late else out


def call_linear(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply a linear layer to tokens, (B, N, C) -> (B, N, D): a stock one by :func:`linear`, any other by its call."""
    if is_recording() or not is_stock(layer, nn.Linear):
        return layer(x)
    return linear(x, layer.weight, layer.bias)


def _convolves(x: Tensor, weight: Tensor) -> bool:
    # In graphs for others a linear layer stays what it is called, and compilers choose for themselves.
    if is_recording() or not torch.backends.mkldnn.is_available():
        return False
    if torch.get_num_threads() == 1:  # then PyTorch has another, slower form of 1x1 convolutions
        return False
    if x.device.type != 'cpu' or x.dtype != torch.float32 or weight.dtype != torch.float32:
        return False
    if x.ndim not in (2, 3) or not x.is_contiguous() or autocast_dtype(x) is not None:
        return False
    tokens = x.shape[:-1].numel()
    return tokens >= MIN_TOKENS and tokens * weight.numel() >= MIN_PRODUCTS
