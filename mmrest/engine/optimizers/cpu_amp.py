"""Mixed precision on a CPU."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterator

import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(OptimWrapper):
    """Optimizer wrapper that computes losses under bfloat16 autocast on a CPU.

    mmengine's AmpOptimWrapper refuses CPUs. bfloat16 has the range of float32, so the loss is not scaled.

    Args:
        kwargs: Arguments of mmengine's OptimWrapper.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Enter what mmengine needs around a training step, and autocast."""
        with super().optim_context(model), torch.autocast('cpu', dtype=torch.bfloat16):
            yield
