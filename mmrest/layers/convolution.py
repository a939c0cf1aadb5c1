"""Sequences of convolutions."""
from __future__ import annotations

from torch import Tensor, nn

from ..ops import call_conv, conv_norm


class ConvSequential(nn.Sequential):
    """``nn.Sequential`` that calls convolutions, with the BatchNorm and ReLU right after one, as this package does."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the output of the last module."""
        modules = list(self)
        while modules:
            module = modules.pop(0)
            if modules and isinstance(modules[0], nn.BatchNorm2d):
                norm = modules.pop(0)
                act = modules.pop(0) if modules and isinstance(modules[0], nn.ReLU) else None
                x = conv_norm(module, norm, x, act)
            else:
                x = call_conv(module, x)
        return x
