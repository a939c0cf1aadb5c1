"""Linear layers on tokens, by the faster of PyTorch's two CPU libraries."""

from __future__ import annotations

import platform
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .fast_paths import fast_paths_enabled
from .modes import autocast_dtype, is_stock, is_tracing_or_compiling

# Below, putting the weights in the order that oneDNN wants costs more than is gained (measured on two cores).
MIN_TOKENS = 128
MIN_PRODUCTS = 2**23


def call_linear(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply a linear layer to tokens, (B, N, C) -> (B, N, D).

    A stock layer in float32 on an AMD processor is computed as a 1x1 convolution. PyTorch hands matrix products to
    MKL, which leaves the AVX-512 units of AMD processors idle, and convolutions to oneDNN, which does not. Tokens in
    memory are a channels-last map, so nothing is copied.
    """
    if not fast_paths_enabled() or is_tracing_or_compiling() or not is_stock(layer, nn.Linear):
        return layer(x)
    if not _is_faster_as_conv(x, layer.weight):
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
    # N tokens are a column of N pixels: (B, C, N, 1) in memory as (B, N, 1, C).
    maps = x.view(-1, *x.shape[-2:]).unsqueeze(2).movedim(-1, 1)
    # The gradient of a convolution's bias is a running sum in float32, too inexact over thousands of tokens; where a
    # gradient is needed the bias is added afterwards.
    late = bias if bias is not None and bias.requires_grad and torch.is_grad_enabled() else None
    out = F.conv2d(maps, weight[..., None, None], bias if late is None else None)
    out = out.movedim(1, -1).reshape(*x.shape[:-1], -1)
    return out if late is None else out.add_(late)


def fast_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute ``F.linear(x, weight, bias)``, as a convolution where that is faster."""
    if fast_paths_enabled() and not is_tracing_or_compiling() and _is_faster_as_conv(x, weight):
        return linear_as_conv(x, weight, bias)
    return F.linear(x, weight, bias)


def _is_faster_as_conv(x: Tensor, weight: Tensor) -> bool:
    if x.device.type != 'cpu' or x.dtype != torch.float32 or weight.dtype != torch.float32:
        return False
    if x.ndim not in (2, 3) or not x.is_contiguous() or autocast_dtype(x) is not None:
        return False
    # With one thread PyTorch has another, slower form of 1x1 convolutions.
    if not _is_amd() or torch.get_num_threads() == 1 or not torch.backends.mkldnn.is_available():
        return False
    tokens = x.shape[:-1].numel()
    return tokens >= MIN_TOKENS and tokens * weight.numel() >= MIN_PRODUCTS


@lru_cache(maxsize=None)
def _is_amd() -> bool:
    """Tell whether the processor is AMD's, the only vendor's where the convolution is measured to be faster."""
    try:
        return 'AuthenticAMD' in Path('/proc/cpuinfo').read_text(errors='replace')
    except OSError:  # not Linux
        return 'AuthenticAMD' in platform.processor()
