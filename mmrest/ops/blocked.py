"""EMSA for exported graphs: the algebra of :mod:`mmrest.ops.chunked` in operators that every runtime has.

A graph cannot choose the number of blocks of queries by the size of the image without a loop operator, which runtimes
optimize badly. So the number is fixed and the rows of a block depend on the size: the memory of the maps is divided by
the number of blocks.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Blocks of queries where the size of the image is dynamic.
NUM_BLOCKS = 16
# Elements of a map that is made whole where the size is fixed.
MAX_ELEMENTS = 2**21


def emsa_blocked(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mix_weight: Tensor | None = None,
    mix_bias: Tensor | None = None,
    eps: float = 1e-5,
    normalize: bool = True,
    num_blocks: int | None = None,
) -> Tensor:
    """Compute :func:`~mmrest.ops.emsa` in a fixed number of blocks of queries, unrolled in the graph.

    Args:
        q, k, v, mix_weight, mix_bias, eps, normalize: As in :func:`~mmrest.ops.emsa`.
        num_blocks (int, optional): Number of blocks. None: enough for maps of ``MAX_ELEMENTS`` where sizes are fixed,
            ``NUM_BLOCKS`` where they are symbols.

    Returns:
        Tensor: (B, k, n, d).
    """
    n, m = q.shape[2], k.shape[2]
    if num_blocks is None:
        num_blocks = _num_blocks(q, m)
    mixing, normalize = mix_weight is not None, mix_weight is not None and normalize
    scale = q.shape[-1] ** -0.5
    keys = (k * scale).transpose(-2, -1)
    values = v - v.mean(dim=2, keepdim=True) if normalize else v
    rows = (n + num_blocks - 1) // num_blocks
    index = torch.arange(rows, device=q.device)
    outs, moments = [], []
    for i in range(num_blocks):
        # The last blocks repeat the last query, rather than being shorter: sizes in a graph stay free of conditions.
        block = q.index_select(2, (index + i * rows).clamp(max=n - 1)) if num_blocks > 1 else q
        maps = block @ keys
        if mixing:
            maps = (mix_weight @ maps.flatten(2)).view(maps.shape)
            if mix_bias is not None and not normalize:
                maps = maps + mix_bias[:, None, None]
        maps = maps.softmax(dim=-1)
        if normalize:
            maps = maps - 1 / m
            moments.append((maps * maps).sum(-1, keepdim=True))
        outs.append(maps @ values)
    out = _first(torch.cat(outs, dim=2), n, num_blocks)
    if not normalize:
        return out
    moment = _first(torch.cat(moments, dim=2), n, num_blocks).mean(dim=2, keepdim=True) / m
    return out * (moment + eps).rsqrt()


def _first(x: Tensor, n: int, num_blocks: int) -> Tensor:
    """Return the first n rows; selected, since a graph would guard on whether a slice cuts anything off."""
    return x.index_select(2, torch.arange(n, device=x.device)) if num_blocks > 1 else x


def _num_blocks(q: Tensor, m: int) -> int:
    sizes = (*q.shape[1:3], m)
    if not all(isinstance(size, int) for size in sizes):
        return NUM_BLOCKS
    return max(min(-(-q.shape[1] * q.shape[2] * m // MAX_ELEMENTS), q.shape[2]), 1)
