"""Shortcuts of inference: what may be rearranged where no gradient is wanted and nobody looks."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .context import autocast_dtype, is_recording, is_stock
from .workarounds import call_batch_norm, call_conv, convolve, is_plain_conv


def in_inference(module: nn.Module) -> bool:
    """Tell whether a module runs for its output alone: eval mode, no gradients, no graph being recorded or compiled."""
    return not (module.training or torch.is_grad_enabled() or is_recording())


def conv_norm(conv: nn.Module, norm: nn.Module, x: Tensor, act: nn.Module | None = None) -> Tensor:
    """Return ``act(norm(conv(x)))``; in inference the BatchNorm is folded into the convolution.

    That saves a pass over the map. It is not done in half precision, where folded weights are rounded otherwise, nor
    where the map is smaller than the weights. A ReLU works in place on what a stock norm returns.

    Args:
        conv (nn.Module): Convolution.
        norm (nn.Module): Its norm; anything but a stock BatchNorm with statistics is just called.
        x (Tensor): (B, C, H, W).
        act (nn.Module, optional): Activation function.
    """
    if in_inference(norm) and _foldable(conv, norm, x):
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        shift = norm.bias - norm.running_mean * scale
        if conv.bias is not None:
            shift = shift + conv.bias * scale
        x = convolve(conv, x, conv.weight * scale[:, None, None, None], shift)
    else:
        x = call_batch_norm(norm, call_conv(conv, x))
    if act is None:
        return x
    if is_stock(act, nn.ReLU) and is_stock(norm, nn.BatchNorm2d) and not is_recording():
        return F.relu_(x)
    return act(x)


def _foldable(conv: nn.Module, norm: nn.Module, x: Tensor) -> bool:
    if not (is_plain_conv(conv) and is_stock(norm, nn.BatchNorm2d) and norm.affine and norm.track_running_stats):
        return False
    if x.dtype not in (torch.float32, torch.float64) or autocast_dtype(x) is not None:
        return False
    pixels = x.numel() // x.shape[1] // (conv.stride[0] * conv.stride[1])
    return pixels * conv.out_channels > conv.weight.numel()
