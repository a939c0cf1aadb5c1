"""Workarounds for faults and limits of torch, each with its cause and when it can go.

A layer that is not stock (:func:`~mmrest.ops.is_stock`) is simply called.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .modes import autocast_dtype, is_exporting, is_stock, is_tracing_or_compiling, is_transforming

HALF = (torch.bfloat16, torch.float16)


def call_conv(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply a convolution, (B, C, H, W) -> (B, D, H', W'); in float32 where half precision on a CPU is wrong or slow.

    These few convolutions are computed in float32 and rounded once:

    * On maps smaller than the kernel, oneDNN leaves values in half precision unwritten, so they are whatever was in
      memory: gradients of the weights, and with AMX the outputs of a 3x3 kernel with stride 2 on maps up to 2 wide and
      9 or more high (seen in bfloat16 with torch 2.13 and 2.14). Can go when ``tests/reliability/test_numbers.py``
      passes without it for the oldest torch that is supported, on a processor with AMX too.
    * Depthwise convolutions with a stride, which reduce keys and values, have no fast backward pass in bfloat16 and no
      fast pass at all in float16: with 64 channels and a 9x9 kernel on 200x336 pixels, 150 instead of 9 ms, and 19
      instead of 0.3 ms (AMD EPYC, Zen 5, torch 2.14). Can go when oneDNN has them.
    """
    dtype = autocast_dtype(x) or x.dtype
    if dtype not in HALF or x.device.type != 'cpu' or is_tracing_or_compiling():
        return layer(x)
    if not is_stock(layer, nn.Conv2d) or layer.padding_mode != 'zeros':
        return layer(x)
    is_small = any(length < kernel for length, kernel in zip(x.shape[2:], layer.kernel_size))
    is_reduction = layer.groups == layer.in_channels > 1 and max(layer.stride) > 1
    is_slow = is_reduction and (dtype == torch.float16 or torch.is_grad_enabled())
    if not is_small and not is_slow:
        return layer(x)
    bias = None if layer.bias is None else layer.bias.float()
    with torch.autocast('cpu', enabled=False):
        out = F.conv2d(x.float(), layer.weight.float(), bias, layer.stride, layer.padding, layer.dilation, layer.groups)
    return out.to(dtype)


def call_batch_norm(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply a BatchNorm, (B, C, H, W) -> (B, C, H, W); in training on a single value per channel too.

    One 1x1 map in the whole batch (a 32x32 image reaches the last stage as one pixel) has no variance; torch
    refuses it, on purpose. Such a batch is normalized by the running statistics, and leaves them as they are.

    Stays as long as torch refuses such batches.
    """
    if is_stock(layer, nn.BatchNorm2d) and layer.training and layer.track_running_stats and x.numel() == x.shape[1]:
        return F.batch_norm(x, layer.running_mean, layer.running_var, layer.weight, layer.bias, eps=layer.eps)
    return layer(x)


def channels_last(x: Tensor) -> Tensor:
    """Return a map (B, C, H, W) in channels-last memory, the layout of tokens; between stages nothing is copied then.

    Left as it is under transforms of ``torch.func``: vmap has no memory formats. Can go when it has.
    """
    return x if is_transforming() else x.contiguous(memory_format=torch.channels_last)


def crop_map(x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
    """Return the upper left part of a map, (B, C, H', W') -> (B, C, H, W).

    A slice is a view, and a graph with symbolic sizes would guard on whether it cuts anything off; in an exported
    graph the rows and columns are selected instead. Can go when ``torch.export`` does not specialize on it.
    """
    if not is_exporting():
        return x[..., : hw_shape[0], : hw_shape[1]]
    # By one index over the pixels of a channels-last map, as tokens are: whole pixels are copied, once.
    rows, columns = (torch.arange(size, device=x.device) for size in hw_shape)
    index = (rows[:, None] * x.shape[-1] + columns).flatten()
    pixels = x.permute(0, 2, 3, 1).flatten(1, 2).index_select(1, index)
    return pixels.unflatten(1, hw_shape).permute(0, 3, 1, 2)
