"""The convolution of this package."""
from __future__ import annotations

import torch
from torch import Tensor, nn

from ..ops import autocast_dtype, is_recording

HALF = (torch.bfloat16, torch.float16)


class Conv2d(nn.Conv2d):
    """``nn.Conv2d`` that is right in half precision on a CPU on maps smaller than its kernel.

    There oneDNN leaves values unwritten, so they are whatever was in memory: gradients of the weights, and with AMX
    the outputs of a 3x3 kernel with stride 2 on maps up to 2 wide and 9 or more high (seen in bfloat16 with PyTorch
    2.13 and 2.14). These few convolutions are computed in float32 and rounded once.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D, H', W')."""
        dtype = autocast_dtype(x) or x.dtype
        if dtype not in HALF or not self._exceeds(x):
            return super().forward(x)
        bias = None if self.bias is None else self.bias.float()
        with torch.autocast('cpu', enabled=False):
            return self._conv_forward(x.float(), self.weight.float(), bias).to(dtype)

    def _exceeds(self, x: Tensor) -> bool:
        """Tell whether the kernel is larger than the map of a CPU's tensor."""
        if x.device.type != 'cpu' or is_recording():
            return False
        return any(length < kernel for length, kernel in zip(x.shape[2:], self.kernel_size))
