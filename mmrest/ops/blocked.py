"""Attention and feed-forward networks for exported graphs, in blocks of tokens that every runtime can compute.

The number of blocks in a graph is fixed, and their length depends on the size of the image: a graph could choose the
number only with a loop operator, which runtimes optimize poorly. Runtimes free a block before they compute the next,
so the memory of attention maps and hidden values is divided by the number of blocks.
"""

from __future__ import annotations

from typing import Callable

import torch
from torch import Tensor

# Dynamic sizes: blocks of attention with one head, and hidden channels of a feed-forward network that is one block. A
# stage has twice the heads and channels of the one before, and a quarter of the tokens: blocks are equally large in
# attention and half as large in feed-forward networks. At 800x1344, a block's maps and hidden values take less memory
# than the tokens of the first stage.
NUM_BLOCKS = 24
HIDDEN_DIMS = 4096
# More would gain nothing, and a graph takes the longer to record the more there are.
MAX_FFN_BLOCKS = 8
# Fixed sizes: elements of the maps, or hidden values, that are computed at a time.
MAX_ELEMENTS = 2**22


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
    """Compute :func:`~mmrest.ops.emsa` in a fixed number of blocks of queries, with operators that ONNX has.

    The algebra is that of :mod:`mmrest.ops.chunked`.

    Args:
        q, k, v, mix_weight, mix_bias, eps, normalize: As in :func:`~mmrest.ops.emsa`.
        num_blocks (int, optional): Number of blocks. None: by the size, or by the number of heads if the size is
            dynamic.

    Returns:
        Tensor: (B, k, n, d), in the dtype of ``v``.
    """
    heads, d, m = q.shape[1], q.shape[3], k.shape[2]
    if num_blocks is None:
        num_blocks = count_blocks(q.shape[2], heads * m, NUM_BLOCKS // heads)
    dtype = torch.promote_types(q.dtype, torch.float32)
    mixed_norm = mix_weight is not None and normalize
    keys = (k * d**-0.5).transpose(-2, -1)
    values = v.to(dtype)
    if mixed_norm:
        values = values - values.mean(dim=2, keepdim=True)

    def attend(block: Tensor) -> Tensor:
        maps = (block @ keys).to(dtype)
        if mix_weight is not None:
            maps = (mix_weight.to(dtype) @ maps.flatten(2)).view(maps.shape)  # softmax removes the bias
        maps = maps.softmax(dim=-1)
        if not mixed_norm:
            return maps @ values
        maps = maps - 1 / m
        # In one tensor with the output: a runtime that gathered the moments afterwards would keep all maps until then.
        return torch.cat([maps @ values, (maps * maps).sum(dim=-1, keepdim=True)], dim=-1)

    out = in_blocks(attend, q, 2, num_blocks)
    if mixed_norm:
        out, moments = out.split([d, 1], dim=-1)
        out = out * (moments.mean(dim=2, keepdim=True) / m + eps).rsqrt()
    return out.to(v.dtype)


def count_blocks(length: int | torch.SymInt, width: int | torch.SymInt, num_dynamic: int) -> int:
    """Return the number of blocks for ``length`` rows of ``width`` elements; ``num_dynamic`` if these are symbols."""
    if not isinstance(length, int) or not isinstance(width, int):
        return max(num_dynamic, 1)
    return max(min(-(-length * width // MAX_ELEMENTS), length), 1)


def in_blocks(function: Callable[[Tensor], Tensor], x: Tensor, dim: int, num_blocks: int) -> Tensor:
    """Apply a function, which treats the entries of a dimension independently, to one block of them after another."""
    if num_blocks == 1:
        return function(x)
    length = x.shape[dim]
    rows = (length + num_blocks - 1) // num_blocks
    index = torch.arange(rows, device=x.device)
    # Blocks that reach over the end repeat the last entry, and what they compute of it is left out. Shorter blocks, or
    # slices, would make the graph depend on how the length divides.
    blocks = [x.index_select(dim, (index + i * rows).clamp(max=length - 1)) for i in range(num_blocks)]
    out = torch.cat([function(block) for block in blocks], dim=dim)
    return out.index_select(dim, torch.arange(length, device=x.device))
