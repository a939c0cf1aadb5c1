"""The convolution of this package."""
from __future__ import annotations

import torch
from torch import Tensor, nn

from ..ops import autocast_dtype, is_recording


class Conv2d(nn.Conv2d):
    """``nn.Conv2d`` that trains in bfloat16 on a CPU on maps smaller than its kernel.

    There oneDNN leaves gradients of the weights unwritten (seen with PyTorch 2.13), so they are whatever was in
    memory; these few convolutions are computed in float32 instead.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D, H', W')."""
        if not self._in_float32(x):
            return super().forward(x)
        bias = None if self.bias is None else self.bias.float()
        with torch.autocast('cpu', enabled=False):
            return self._conv_forward(x.float(), self.weight.float(), bias).to(torch.bfloat16)

    def _in_float32(self, x: Tensor) -> bool:
        if x.device.type != 'cpu' or not torch.is_grad_enabled() or is_recording():
            return False
        small = any(length < kernel for length, kernel in zip(x.shape[2:], self.kernel_size))
        return small and torch.bfloat16 in (x.dtype, autocast_dtype(x))
