"""In what surroundings a function runs."""
from __future__ import annotations

import torch
from torch import Tensor


def is_exporting() -> bool:
    """Whether a graph is being recorded for use elsewhere: by ``torch.export``, ONNX or ``torch.jit.trace``."""
    exporting = getattr(torch.compiler, 'is_exporting', None)  # from torch 2.7
    return torch.jit.is_tracing() or torch.onnx.is_in_onnx_export() or (exporting is not None and exporting())


def is_recording() -> bool:
    """Whether a graph is being made, by ``torch.compile`` or for use elsewhere: sizes may be symbols then."""
    return torch.compiler.is_compiling() or is_exporting()


def is_transformed() -> bool:
    """Whether derivatives are taken otherwise than by ``backward``: in forward mode, or by ``torch.func``.

    Functions with a backward pass of their own know of neither, and the first would get zeros from them.
    """
    if torch.compiler.is_compiling():
        return False
    return torch.autograd.forward_ad._current_level >= 0 or torch._C._are_functorch_transforms_active()


def autocast_dtype(x: Tensor) -> torch.dtype | None:
    """The dtype to which autocast would bring a matrix product of this tensor; None: it leaves it alone."""
    device = x.device.type
    if x.is_meta or x.dtype == torch.float64 or not torch.is_autocast_enabled(device):
        return None
    return torch.get_autocast_dtype(device)
