"""What the operators share: their error, torchvision's operators, and the precision they compute in."""

from __future__ import annotations

import functools
from typing import Any, Callable

import torch
from torch import Tensor

from ..utils.errors import MMRestError


class UnsupportedOpError(MMRestError, NotImplementedError):
    """An operator of mmcv that needs mmcv's compiled extension or a torchvision that goes with torch."""


@functools.lru_cache(maxsize=None)
def torchvision_ops() -> Any:
    """Return torchvision's operators, ``torch.ops.torchvision``; torchvision is imported at the first call.

    Raises:
        UnsupportedOpError: There is no torchvision, or it was built for another torch.
    """
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError) as error:
        raise UnsupportedOpError(
            f"mmcv's operators are computed by torchvision here, and it cannot be imported ({error}). Install the "
            'torchvision that goes with your torch, from where torch came from.'
        ) from error
    return torch.ops.torchvision


def widen(tensor: Tensor) -> Tensor:
    """Return ``tensor`` in float32 where torchvision has no kernel for its dtype: bfloat16, and float16 on CPUs."""
    narrow = tensor.dtype == torch.bfloat16 or tensor.dtype == torch.float16 and tensor.device.type == 'cpu'
    return tensor.float() if narrow else tensor


def as_compiled(function: Callable) -> Callable:
    """Let ``function`` run as a compiled operator would: autocast and gradients do not reach inside."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        tensors = (arg for arg in (*args, *kwargs.values()) if isinstance(arg, Tensor))
        device = next((tensor.device.type for tensor in tensors), 'cpu')
        with torch.no_grad(), torch.autocast(device, enabled=False):
            return function(*args, **kwargs)

    return run
