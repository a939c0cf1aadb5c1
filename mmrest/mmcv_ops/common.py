"""Utilities of the operators: error class, access to torchvision, precision."""

from __future__ import annotations

import functools
from typing import Any, Callable

import torch
from torch import Tensor

from ..utils.errors import MMRestError


class UnsupportedOpError(MMRestError, NotImplementedError):
    """An operator requires mmcv's compiled extension, or a torchvision that matches torch."""


@functools.lru_cache(maxsize=None)
def torchvision_ops() -> Any:
    """Return ``torch.ops.torchvision``, importing torchvision at the first call.

    Raises:
        UnsupportedOpError: torchvision is not installed or was built for another torch.
    """
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError) as error:
        raise UnsupportedOpError(
            f"mmcv's operators are computed by torchvision here, and it cannot be imported ({error}). Install the "
            'torchvision that matches your torch, from the same index.'
        ) from error
    return torch.ops.torchvision


def upcast(tensor: Tensor) -> Tensor:
    """Convert dtypes without kernels in torchvision (bfloat16, and float16 on CPUs) to float32."""
    narrow = tensor.dtype == torch.bfloat16 or tensor.dtype == torch.float16 and tensor.device.type == 'cpu'
    return tensor.float() if narrow else tensor


def as_compiled(function: Callable) -> Callable:
    """Decorate a function to run like a compiled operator, without autocast and autograd."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        tensors = (arg for arg in (*args, *kwargs.values()) if isinstance(arg, Tensor))
        device = next((tensor.device.type for tensor in tensors), 'cpu')
        with torch.no_grad(), torch.autocast(device, enabled=False):
            return function(*args, **kwargs)

    return run
