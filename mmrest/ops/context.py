"""The surroundings that a function runs in, and the state of the modules that it is about to go past."""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules import module as nn_module

# As torch has them. Tools such as torch.fx put others in their place for a while.
_CALL = nn.Module.__call__
_FORWARDS = {kind: kind.forward for kind in (nn.Linear, nn.Conv2d, nn.BatchNorm2d, nn.LayerNorm, nn.ReLU, nn.GELU,
                                             nn.Dropout)}


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


def is_unhooked(*modules: nn.Module) -> bool:
    """Tell whether modules have no hooks at their calls or gradients, neither their own nor global ones."""
    if (nn_module._global_forward_hooks or nn_module._global_forward_pre_hooks or nn_module._global_backward_hooks
            or nn_module._global_backward_pre_hooks):
        return False
    return not any(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks
                   or module._backward_pre_hooks for module in modules)


def is_stock(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Tell whether a module is a layer of torch as it was built, so that its parent may do without calling it.

    A layer that is pruned, quantized, parametrized, wrapped, hooked, compiled, or has a ``forward`` or parameters of
    another kind (sharded or quantized tensors) must be called.

    Args:
        module (nn.Module): The layer.
        kind (type): The class that it must be of, not of one derived from it; one of those of torch that backbones
            of this package are made of.
    """
    if type(module) is not kind or not is_unhooked(module):
        return False
    if kind.forward is not _FORWARDS[kind] or kind.__call__ is not _CALL or 'forward' in module.__dict__:
        return False
    if module._compiled_call_impl is not None:
        return False
    return all(p is None or type(p) is nn.Parameter or type(p) is Tensor for p in module._parameters.values())
