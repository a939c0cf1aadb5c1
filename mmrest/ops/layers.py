"""One way for a module to call the layers of torch that it owns."""

from __future__ import annotations

from typing import Callable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .linear import call_linear
from .modes import is_exporting, is_transforming
from .workarounds import call_batch_norm, call_conv

_CALLS = {nn.Linear: call_linear, nn.Conv2d: call_conv, nn.BatchNorm2d: call_batch_norm}


def call_layer(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply a layer as ``layer(x)`` does.

    Stock layers take the workarounds of :mod:`mmrest.ops.workarounds` and the fast path of
    :func:`~mmrest.ops.call_linear`; any other module is simply called.
    """
    call = _CALLS.get(type(layer))
    return layer(x) if call is None else call(layer, x)


def recompute(module: Callable[..., Tensor], *args) -> Tensor:
    """Call a module or function, keeping only its arguments for the backward pass, which calls it once more.

    A plain call where gradients are off, in an exported graph and under transforms of ``torch.func``, none of which
    support recomputation.
    """
    if not torch.is_grad_enabled() or is_exporting() or is_transforming():
        return module(*args)
    return checkpoint(module, *args, use_reentrant=False)
