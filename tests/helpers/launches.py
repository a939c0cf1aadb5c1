"""Kernels that the attention of a GPU launches, counted without one: fake CUDA tensors, and every operator listed."""

from __future__ import annotations

import math
from collections import Counter

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from mmrest.backbones import ResT
from mmrest.ops import wide_blocks
from mmrest.ops.chunked import BLOCK_ELEMENTS
from mmrest.ops.triton_rows import TritonSteps

NO_LAUNCH = {'alias', 'detach', 'expand', 'permute', 'promote_types', 'select', 'slice', 't', 'transpose', 'unbind'}
NO_LAUNCH |= {'_unsafe_view', 'as_strided', 'empty', 'empty_like', 'new_empty', 'unsqueeze', 'view', 'lift_fresh'}


class Launches(TorchDispatchMode):
    """Counts operators that launch a kernel, by name; reads and writes of whole maps are listed in order."""

    def __init__(self, map_elements: float = math.inf) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.map_elements, self.passes = map_elements, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        # Torch's decomposition for fake tensors does not know this overload.
        wide = func is torch.ops.aten.baddbmm.dtype_out
        out = kwargs['out'] if wide else func(*args, **kwargs)
        name = func.overloadpacket.__name__
        if func.namespace == 'aten' and name not in NO_LAUNCH:
            self.counts[name] += 1
            tensors = [x for x in (*args, *kwargs.values(), out) if isinstance(x, torch.Tensor)]
            if max((x.numel() for x in tensors), default=0) >= self.map_elements:
                self.passes.append(name)
        return out


class CountedTritonSteps(TritonSteps):
    """Triton's steps, which add to the launches being counted instead of launching."""

    launches: Launches

    def launch(self, name, *_) -> None:
        self.launches.counts[name] += 1


def make_cuda_inputs(batch: int, heads: int, n: int, m: int, d: int, dtype: torch.dtype) -> list[torch.Tensor]:
    """Return fake queries, keys and values in the memory layout of the layers, and mixing weights."""
    q = torch.empty(batch, n, heads * d, dtype=dtype, device='cuda')
    k, v = torch.empty(batch, m, 2 * heads * d, dtype=dtype, device='cuda').chunk(2, -1)
    q, k, v = (x.unflatten(-1, (heads, d)).transpose(1, 2) for x in (q, k, v))
    return [q, k, v, torch.empty(heads, heads, device='cuda')]


def count_launches(
    batch: int, heads: int, n: int, m: int, dtype: torch.dtype, triton: bool = False, d: int = 64
) -> tuple[Launches, Launches]:
    """Return what one call of attention with mixed heads launches, forward and backward."""
    passes = [Launches(batch * heads * n * m / 8) for _ in range(2)]
    with FakeTensorMode():
        inputs = make_cuda_inputs(batch, heads, n, m, d, dtype)
        elements = BLOCK_ELEMENTS['triton' if triton else 'wide']
        steps = wide_blocks.TorchSteps
        if triton:
            steps = type('Steps', (CountedTritonSteps,), dict(launches=passes[0]))
        with passes[0]:
            out, rstd = wide_blocks.forward(*inputs, 1e-5, elements, steps)
        if triton:
            steps.launches = passes[1]
        with passes[1]:
            wide_blocks.backward(torch.empty_like(out), *inputs, out, rstd, elements, steps)
    return passes[0], passes[1]


def count_mixing_calls(batch: int, dtype: torch.dtype, triton: bool = False) -> tuple[int, int]:
    """Return launches of all attention with mixed heads in ResT-Small at 800x1344, forward and backward."""
    model, sums = ResT('small'), [0, 0]
    for index, (depth, heads, sr_ratio) in enumerate(zip(model.depths, model.num_heads, model.sr_ratios)):
        if heads == 1:
            continue
        rows, columns = 800 // 2 ** (2 + index), 1344 // 2 ** (2 + index)
        m = -(-rows // sr_ratio) * -(-columns // sr_ratio)
        for i, launches in enumerate(count_launches(batch, heads, rows * columns, m, dtype, triton)):
            sums[i] += depth * sum(launches.counts.values())
    return sums[0], sums[1]
