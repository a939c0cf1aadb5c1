"""What may be rearranged where no gradient is wanted."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..ops import autocast_dtype, is_recording


def in_inference(module: nn.Module) -> bool:
    """Whether a module runs for its output alone: eval mode, no gradients, no graph being recorded or compiled."""
    return not (module.training or torch.is_grad_enabled() or is_recording())


def is_hooked(*modules: nn.Module) -> bool:
    """Whether somebody has hooks on one of the modules, which must be called as usual then."""
    return any(hooks for module in modules for hooks in (module._forward_hooks, module._forward_pre_hooks,
                                                         module._backward_hooks, module._backward_pre_hooks))


def conv_norm(conv: nn.Conv2d, norm: nn.Module, x: Tensor) -> Tensor:
    """``norm(conv(x))``; in inference the BatchNorm is folded into the convolution.

    That saves a pass over the map. It is not done in half precision, where folded weights are rounded
    otherwise, nor where the map is smaller than the weights, nor past somebody's hooks.

    Args:
        conv (nn.Conv2d): Convolution with zero padding.
        norm (nn.Module): Its norm; anything but a BatchNorm with statistics is just called.
        x (Tensor): (B, C, H, W).
    """
    if not (in_inference(norm) and _foldable(conv, norm, x)):
        return norm(conv(x))
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    shift = norm.bias - norm.running_mean * scale
    if conv.bias is not None:
        shift = shift + conv.bias * scale
    return F.conv2d(x, conv.weight * scale[:, None, None, None], shift, conv.stride, conv.padding)


def _foldable(conv: nn.Conv2d, norm: nn.Module, x: Tensor) -> bool:
    if not (isinstance(norm, nn.BatchNorm2d) and norm.affine and norm.track_running_stats):
        return False
    if x.dtype not in (torch.float32, torch.float64) or autocast_dtype(x) is not None:
        return False
    if is_hooked(conv, norm):
        return False
    pixels = x.numel() // x.shape[1] // (conv.stride[0] * conv.stride[1])
    return pixels * conv.out_channels > conv.weight.numel()


class ConvNorms(nn.Sequential):
    """A sequence in which every norm right after a convolution may be folded into it."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> what the last module returns."""
        modules = list(self)
        while modules:
            module = modules.pop(0)
            if isinstance(module, nn.Conv2d) and modules and isinstance(modules[0], nn.BatchNorm2d):
                x = conv_norm(module, modules.pop(0), x)
            else:
                x = module(x)
        return x
