"""Modes that torch is in, and the state of modules: all that this package reads of torch's private attributes."""

from __future__ import annotations

from typing import Callable, TypeGuard, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules import module as nn_module

M = TypeVar('M', bound=nn.Module)

# As torch has them. Tools such as torch.fx put others in their place for a while.
_CALL = nn.Module.__call__
_KINDS = (nn.Linear, nn.Conv2d, nn.BatchNorm2d, nn.LayerNorm, nn.GELU, nn.Dropout)
_FORWARDS: dict[type[nn.Module], Callable] = {kind: kind.forward for kind in _KINDS}


def is_exporting() -> bool:
    """Tell whether ``torch.export``, ONNX export or ``torch.jit.trace`` is recording a graph."""
    return torch.jit.is_tracing() or torch.onnx.is_in_onnx_export() or is_recording_program()


def is_recording_program() -> bool:
    """Tell whether ``torch.export`` is recording a graph, alone or for ONNX. Sizes in it may be symbols."""
    exporting = getattr(torch.compiler, 'is_exporting', None)  # from torch 2.7
    return exporting is not None and exporting() and not torch.jit.is_tracing()


def is_tracing_or_compiling() -> bool:
    """Tell whether a graph is recorded, by ``torch.compile`` or for export; sizes may be symbols then."""
    return torch.compiler.is_compiling() or is_exporting()


def is_transforming() -> bool:
    """Tell whether a transform of ``torch.func`` or forward-mode differentiation is active.

    Functions with a backward pass of their own support neither; forward mode would silently get zeros from them.
    """
    if torch.compiler.is_compiling():
        return False
    return torch.autograd.forward_ad._current_level >= 0 or torch._C._are_functorch_transforms_active()


def is_inference(*modules: nn.Module) -> bool:
    """Tell whether modules run for their outputs alone: eval mode, no gradients, no graph being recorded."""
    return not (any(m.training for m in modules) or torch.is_grad_enabled() or is_tracing_or_compiling())


def autocast_dtype(x: Tensor) -> torch.dtype | None:
    """Return the dtype to which autocast casts operands of a matrix product with ``x``, or None if it does not."""
    device = x.device.type
    if x.is_meta or x.dtype == torch.float64 or not torch.is_autocast_enabled(device):
        return None
    return torch.get_autocast_dtype(device)


def is_unhooked(*modules: nn.Module) -> bool:
    """Tell whether no hook, of the modules or global, is attached to their forward and backward passes."""
    if (
        nn_module._global_forward_hooks
        or nn_module._global_forward_pre_hooks
        or nn_module._global_backward_hooks
        or nn_module._global_backward_pre_hooks
    ):
        return False
    return not any(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
        for module in modules
    )


def is_stock(module: nn.Module, kind: type[M]) -> TypeGuard[M]:
    """Tell whether a module is an unmodified layer of torch, so that its parent may compute it without calling it.

    False for a layer that is pruned, quantized, parametrized, wrapped, hooked or compiled, or that has a ``forward``
    or parameters (sharded or quantized tensors) of another kind.

    Args:
        module (nn.Module): The layer.
        kind (type): Its exact class: ``nn.Linear``, ``nn.Conv2d``, ``nn.BatchNorm2d``, ``nn.LayerNorm``, ``nn.GELU``
            or ``nn.Dropout``.
    """
    if type(module) is not kind or not is_unhooked(module):
        return False
    if kind.forward is not _FORWARDS[kind] or 'forward' in module.__dict__:
        return False
    if module._compiled_call_impl is not None:
        return False
    if is_exporting():  # torch.export replaces __call__ and parameters while it records
        return True
    if kind.__call__ is not _CALL:
        return False
    return all(p is None or type(p) is nn.Parameter or type(p) is Tensor for p in module._parameters.values())
