"""Steps of :mod:`mmrest.ops.wide_blocks` in Triton: one kernel a block in either pass, between cuBLAS's products.

Triton is imported when the first block is computed. Where it is missing, or :func:`runs_kernels` says no for another
reason, :mod:`mmrest.ops.chunked` takes PyTorch's operations instead.
"""

from __future__ import annotations

import importlib.util
import os
from types import ModuleType

import torch
from torch import Tensor

from .products import Scratch, multiply
from .wide_blocks import VALUE_SCALE, BlockGrads

# Columns of a tile and warps of a program, by number of heads, which has to be a power of two: as many columns as fit
# into registers without a spill. 16 heads would not fit.
TILES = {2: (512, 4), 4: (512, 4), 8: (256, 4)}
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
# What Triton supports. On older GPUs it may compile, untested.
MIN_CAPABILITY = (8, 0)


def load_kernels() -> ModuleType:
    """Import the kernels, and Triton with them."""
    from . import triton_kernels

    return triton_kernels


def runs_kernels(q: Tensor, heads: int) -> bool:
    """Tell whether the kernels run for queries like these: on an NVIDIA GPU from Ampere, heads a power of two.

    With TRITON_INTERPRET=1, which has to be set before Triton is imported, they run on a CPU, in its interpreter.
    """
    if heads not in TILES or q.dtype not in DTYPES or importlib.util.find_spec('triton') is None:
        return False
    if os.environ.get('TRITON_INTERPRET') == '1':
        return q.device.type == 'cpu'
    if not q.is_cuda or torch.version.hip is not None:
        return False
    return torch.cuda.get_device_capability(q.device) >= MIN_CAPABILITY


class TritonSteps:
    """Steps of Triton's kernels, for mixed heads; see :class:`~mmrest.ops.wide_blocks.Steps`.

    Args:
        q, m, weight, scale: As there.
    """

    def __init__(self, q: Tensor, m: int, weight: Tensor | None, scale: float) -> None:
        assert weight is not None
        self.m, self.weight, self.scale, self.operand = m, weight.contiguous(), scale, q.dtype
        self.value_scale = VALUE_SCALE.get(q.dtype, 1.0)
        self.scratch = Scratch(q)

    def maps(self, logits: Tensor, norms: Tensor | None) -> Tensor:
        """Return maps as operands; see :meth:`Steps.maps <mmrest.ops.wide_blocks.Steps.maps>`."""
        assert norms is not None
        maps = self.scratch('second', tuple(logits.shape), self.operand)
        sizes = (self.m, logits.shape[-1], norms.stride(0), norms.stride(1))
        self.launch('maps_kernel', logits, logits, self.weight, maps, norms, *sizes, self.scale)
        return maps

    def grads(self, logits: Tensor, factors: tuple[Tensor, Tensor], shift: Tensor | None) -> BlockGrads:
        """Return operands of the backward pass; see :meth:`Steps.grads <mmrest.ops.wide_blocks.Steps.grads>`."""
        assert shift is not None
        heads, batch, rows, columns = shape = tuple(logits.shape)
        grads = self.scratch('second', shape, logits.dtype)
        multiply(*factors, out=grads.flatten(0, 1), alpha=1 / self.value_scale)
        maps, grad_logits = (self.scratch(name, shape, self.operand) for name in ('third', 'fourth'))
        shift = shift.transpose(0, 1).contiguous()
        grad_weight = self.scratch('weight', (batch * rows, heads, heads), logits.dtype)
        outputs = (maps, grad_logits, grad_weight)
        self.launch('grads_kernel', logits, logits, grads, self.weight, shift, *outputs, self.m, columns, self.scale)
        return BlockGrads(maps, grad_logits, grad_weight.sum(0, dtype=torch.float64))

    def launch(self, name: str, like: Tensor, *args: Tensor | float) -> None:
        """Launch a kernel over the rows and images of maps (k, B, rows, columns)."""
        heads, batch, rows = like.shape[:3]
        tile, warps = TILES[heads]
        with torch.cuda.device_of(like):  # Triton launches on the current device
            getattr(load_kernels(), name)[(rows, batch)](*args, HEADS=heads, TILE=tile, num_warps=warps)
