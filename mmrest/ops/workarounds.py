"""Stock layers called so that faults of torch do not show, each with the fault and when its workaround can go.

A layer that is not stock (:func:`~mmrest.ops.is_stock`) is called as it is.
"""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .context import autocast_dtype, is_recording, is_stock

HALF = (torch.bfloat16, torch.float16)


def call_conv(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply a convolution, (B, C, H, W) -> (B, D, H', W'); in float32 where half precision on a CPU is wrong.

    On maps smaller than the kernel, oneDNN leaves values in half precision unwritten, so they are whatever was in
    memory: gradients of the weights, and with AMX the outputs of a 3x3 kernel with stride 2 on maps up to 2 wide and
    9 or more high (seen in bfloat16 with torch 2.13 and 2.14). These few convolutions are computed in float32 and
    rounded once.

    Can go when ``tests/reliability/test_numbers.py`` passes without it for the oldest torch that is supported, on a
    processor with AMX too.
    """
    dtype = autocast_dtype(x) or x.dtype
    if dtype not in HALF or x.device.type != 'cpu' or is_recording() or not is_plain_conv(layer):
        return layer(x)
    if all(length >= kernel for length, kernel in zip(x.shape[2:], layer.kernel_size)):
        return layer(x)
    bias = None if layer.bias is None else layer.bias.float()
    with torch.autocast('cpu', enabled=False):
        return convolve(layer, x.float(), layer.weight.float(), bias).to(dtype)


def call_batch_norm(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply a BatchNorm, (B, C, H, W) -> (B, C, H, W); in training on a single value per channel too.

    One 1x1 map in the whole batch (a 32x32 image reaches the last stage as one pixel) has no variance; torch
    refuses it, on purpose. Such a batch is normalized by the running statistics, and leaves them as they are.

    Stays as long as torch refuses such batches.
    """
    trains = is_stock(layer, nn.BatchNorm2d) and layer.training and layer.track_running_stats
    if trains and x.numel() == x.shape[1]:
        return F.batch_norm(x, layer.running_mean, layer.running_var, layer.weight, layer.bias, eps=layer.eps)
    return layer(x)


def is_plain_conv(layer: nn.Module) -> bool:
    """Tell whether a layer is a stock convolution with zero padding, which :func:`convolve` computes."""
    return is_stock(layer, nn.Conv2d) and layer.padding_mode == 'zeros'


def convolve(layer: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve as a layer does, with other weights of the same shape."""
    return F.conv2d(x, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups)
