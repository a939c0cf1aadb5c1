"""EMSA by blocks of queries of all images at once: the form for a GPU, where few large operations are fast.

The algebra is that of :mod:`mmrest.ops.chunked`. Matrix products take operands in the dtype of the queries; they are
summed, and everything between them is kept, in float32. The steps between the products are a parameter:
:class:`TorchSteps`, or the kernels of :mod:`mmrest.ops.triton_rows`.

Blocks are (k, B, rows, columns), as :mod:`mmrest.ops.products` has them. The columns are keys, padded with zeros.
"""

from __future__ import annotations

from typing import Callable, NamedTuple, Protocol

import torch
from torch import Tensor

from .products import Scratch, head_products, mix_heads, multiply, padded, uses_tf32

# Entries of A - 1/n' are at most 1, and small where attention is flat: keeps them clear of float16's subnormals.
MAP_SCALE = {torch.float16: 2.0**14}
# Values are multiplied by r, which is between 2 and 316: keeps them clear of float16's largest number.
VALUE_SCALE = {torch.float16: 2.0**-6}


class BlockGrads(NamedTuple):
    """Parts of the backward pass of one block."""

    maps: Tensor  # A - 1/n', or A without mixing, times the scale: an operand, (k, B, rows, columns)
    logits: Tensor  # gradient of the logits: an operand, of the same shape
    weight: Tensor | None  # gradient of the scaled mixing weights, (k, k) in float64


class Steps(Protocol):
    """Computations between the matrix products of a block.

    Args:
        q (Tensor): Queries, whose dtype operands of matrix products have.
        m (int): Number of keys, without padding.
        weight (Tensor, optional): (k, k), mixing weights divided by sqrt(d), in the dtype of maps.
        scale (float): Factor on maps that are operands.
    """

    scratch: Scratch

    def __init__(self, q: Tensor, m: int, weight: Tensor | None, scale: float) -> None: ...

    def maps(self, logits: Tensor, norms: Tensor | None) -> Tensor:
        """Return maps as operands, and write the norms of their rows, times the scale, into (k, B, rows)."""

    def grads(self, logits: Tensor, factors: tuple[Tensor, Tensor], shift: Tensor | None) -> BlockGrads:
        """Return what the backward pass multiplies.

        Args:
            logits (Tensor): (k, B, rows, columns).
            factors (tuple): Two operands, whose product is the gradient of the maps divided by the scale of values.
            shift (Tensor, optional): (k, B, 1, 1), times A is added to that gradient.
        """


class TorchSteps:
    """Steps of PyTorch's operations; see :class:`Steps`.

    Args:
        q, m, weight, scale: As there.
        tf32 (bool, optional): Products of matrices in float32 are rounded to TF32. Default: as torch is set.
    """

    def __init__(self, q: Tensor, m: int, weight: Tensor | None, scale: float, tf32: bool | None = None) -> None:
        self.m, self.weight, self.scale, self.operand = m, weight, scale, q.dtype
        self.value_scale = VALUE_SCALE.get(q.dtype, 1.0) if weight is not None else 1.0
        self.tf32 = uses_tf32(q.device.type) if tf32 is None else tf32
        self.scratch = Scratch(q)

    def maps(self, logits: Tensor, norms: Tensor | None) -> Tensor:
        """Return maps as operands; see :meth:`Steps.maps`."""
        if self.weight is None:
            maps = self.softmax(logits, 'second')
            return maps if self.operand == maps.dtype else self.buffer('first', maps, self.operand).copy_(maps)
        maps = self.softmax(logits, 'first')
        maps = self.centered(maps, 'second')
        # Of the numbers that are multiplied, rounded or not.
        torch.linalg.vector_norm(maps[..., : self.m], dim=-1, dtype=logits.dtype, out=norms)
        return maps

    def grads(self, logits: Tensor, factors: tuple[Tensor, Tensor], shift: Tensor | None) -> BlockGrads:
        """Return operands of the backward pass; see :meth:`Steps.grads`."""
        maps = self.softmax(logits, 'third')
        grads = self.buffer('second', logits)
        multiply(*factors, out=grads.flatten(0, 1), alpha=1 / self.value_scale)
        if shift is not None:
            grads.addcmul_(maps, shift)
        # sum_j A dA is computed from these A and dA, not from a saved value: every row of the result must sum to zero,
        # or the gradient of the mixing weights loses its digits.
        torch._softmax_backward_data(grads, maps, -1, grads.dtype, grad_input=grads)
        if self.weight is None:
            if self.operand == grads.dtype:
                return BlockGrads(maps, grads, None)
            grads = self.buffer('first', grads, self.operand).copy_(grads)
            return BlockGrads(self.buffer('second', maps, self.operand).copy_(maps), grads, None)
        grad_weight = head_products(grads, logits, self.tf32)
        mixed = mix_heads(self.weight.t(), grads, self.buffer('first', grads), self.tf32)  # logits are not needed again
        if self.operand != mixed.dtype:
            mixed = self.buffer('second', mixed, self.operand).copy_(mixed)
        return BlockGrads(self.centered(maps, 'first'), mixed, grad_weight)

    def softmax(self, logits: Tensor, name: str) -> Tensor:
        """Mixed, and then a softmax over the keys; padded entries become exactly 0."""
        mixed = logits
        if self.weight is not None:
            mixed = mix_heads(self.weight, logits, self.buffer('second', logits), self.tf32)
        if logits.shape[-1] > self.m:
            mixed[..., self.m :].fill_(-torch.inf)
        return torch.softmax(mixed, -1, out=self.buffer(name, logits))

    def centered(self, maps: Tensor, name: str) -> Tensor:
        """(A - 1/n') * scale as operands, in one pass; in place if that is the dtype they are in."""
        out = maps if self.operand == maps.dtype else self.buffer(name, maps, self.operand)
        offset = torch.tensor(-self.scale / self.m, dtype=maps.dtype)  # on the CPU, as a number is
        return torch.add(offset, maps, alpha=self.scale, out=out)

    def buffer(self, name: str, like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Return scratch memory of the shape of a tensor, and of its dtype if none is given."""
        return self.scratch(name, tuple(like.shape), dtype or like.dtype)


def forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mix_weight: Tensor | None,
    eps: float,
    block_elements: int,
    make_steps: Callable[..., Steps] = TorchSteps,
) -> tuple[Tensor, Tensor]:
    """Return the output, (B, k, n, d), and r, (B, k, 1, 1), which is empty without mixing."""
    batch, heads, n, d = q.shape
    m, dtype = k.shape[2], torch.promote_types(q.dtype, torch.float32)
    mixing = mix_weight is not None
    scale = MAP_SCALE.get(q.dtype, 1.0) if mixing else 1.0
    steps = make_steps(q, m, None if mix_weight is None else mix_weight.to(dtype) * d**-0.5, scale)
    keys, values = _keys_and_values(k, v, dtype, mixing)
    sums = q.new_empty(heads, batch, n, d, dtype=dtype)
    norms = q.new_empty(batch, heads, n if mixing else 0, dtype=dtype)
    for rows in row_blocks(n, batch * heads * keys.shape[1], block_elements):
        queries = _by_head(q[:, :, rows])
        logits = steps.scratch('first', (heads, batch, queries.shape[1], keys.shape[1]), dtype)
        multiply(queries, keys.transpose(1, 2), out=logits.flatten(0, 1), alpha=1.0 if mixing else d**-0.5)
        maps = steps.maps(logits, norms[..., rows].transpose(0, 1) if mixing else None)
        multiply(maps.flatten(0, 1), values, out=sums.flatten(0, 1)[:, rows], alpha=1 / scale)
    out = token_major(q)
    if not mixing:
        return out.copy_(sums.transpose(0, 1)), q.new_empty(0, dtype=dtype)
    # Over whole maps, so in float64: a float32 sum of millions of squares is good to four digits only.
    norm = torch.linalg.vector_norm(norms, dim=-1, dtype=torch.float64)[..., None, None]
    rstd = (norm.square() / (scale**2 * n * m)).add_(eps).rsqrt_().to(dtype)
    torch.mul(sums.transpose(0, 1), rstd, out=out)
    return out, rstd


def backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mix_weight: Tensor | None,
    out: Tensor,
    rstd: Tensor,
    block_elements: int,
    make_steps: Callable[..., Steps] = TorchSteps,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of q, k, v and mix_weight, which is empty without mixing.

    Arguments as in :func:`forward`, and what that returned; without mixing neither is read.
    """
    batch, heads, n, d = q.shape
    m, dtype = k.shape[2], torch.promote_types(q.dtype, torch.float32)
    mixing = mix_weight is not None
    scale = MAP_SCALE.get(q.dtype, 1.0) if mixing else 1.0
    steps = make_steps(q, m, None if mix_weight is None else mix_weight.to(dtype) * d**-0.5, scale)
    keys, values = _keys_and_values(k, v, dtype, mixing, rstd if mixing else None)
    shift = None
    if mixing:
        # The variance passes -r^2 <dO, O> / (n n') (A - 1/n') to A. The constant 1/n' drops out in the backward
        # pass of softmax, so A itself will do.
        shift = (grad.to(dtype) * out).sum((-2, -1), keepdim=True, dtype=torch.float64)
        shift = shift.mul_(rstd.square()).div_(-n * m).to(dtype).transpose(0, 1)
    sum_q = q.new_empty(heads, batch, n, d, dtype=dtype)
    sum_k = torch.empty_like(keys, dtype=dtype)
    sum_v = torch.empty_like(sum_k)
    grad_weight = None
    for index, rows in enumerate(row_blocks(n, batch * heads * keys.shape[1], block_elements)):
        queries, grads = _by_head(q[:, :, rows]), _by_head(grad[:, :, rows])
        logits = steps.scratch('first', (heads, batch, queries.shape[1], keys.shape[1]), dtype)
        alpha = 1.0 if mixing else d**-0.5
        multiply(queries, keys.transpose(1, 2), out=logits.flatten(0, 1), alpha=alpha)
        maps, grad_logits, more = steps.grads(logits, (grads, values.transpose(1, 2)), shift)
        maps, grad_logits = maps.flatten(0, 1), grad_logits.flatten(0, 1)
        multiply(maps.transpose(1, 2), grads, out=sum_v, alpha=1 / scale, accumulate=index > 0)
        multiply(grad_logits, keys, out=sum_q.flatten(0, 1)[:, rows], alpha=alpha)
        multiply(grad_logits.transpose(1, 2), queries, out=sum_k, alpha=alpha, accumulate=index > 0)
        grad_weight = more if grad_weight is None or more is None else grad_weight.add_(more)
    sum_k, sum_v = (x.view(heads, batch, -1, d)[:, :, :m].transpose(0, 1) for x in (sum_k, sum_v))
    grad_q = token_major(q).copy_(sum_q.transpose(0, 1))
    grad_k = token_major(k).copy_(sum_k)
    grad_v = token_major(v)
    if mix_weight is None or grad_weight is None:
        return grad_q, grad_k, grad_v.copy_(sum_v), q.new_empty(0)
    torch.mul(sum_v, rstd, out=grad_v)
    return grad_q, grad_k, grad_v, (grad_weight * d**-0.5).to(mix_weight.dtype)


def row_blocks(n: int, per_row: int, block_elements: int) -> list[slice]:
    """Even parts of n rows, each of at most block_elements elements, or of a single row."""
    parts = -(-n // max(block_elements // max(per_row, 1), 1))
    rows = -(-n // max(parts, 1))
    return [slice(i, min(i + rows, n)) for i in range(0, n, rows)]


def token_major(like: Tensor) -> Tensor:
    """Uninitialized (B, k, n, d) in the memory layout (B, n, k, d), which the linear layers around it use."""
    b, heads, n, d = like.shape
    return like.new_empty(b, n, heads, d).transpose(1, 2)


def _by_head(x: Tensor) -> Tensor:
    """(B, k, rows, d) -> (k * B, rows, d); a view of a single image."""
    return x.transpose(0, 1).flatten(0, 1)


def _keys_and_values(
    k: Tensor, v: Tensor, dtype: torch.dtype, mixing: bool, rstd: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """(k * B, columns, d) each; values are centered if the maps are, and multiplied by r and a scale if it is given."""
    batch, heads, m, d = k.shape
    shape = (2, heads, batch, padded(m), d)
    both = k.new_empty(shape) if m == shape[3] else k.new_zeros(shape)
    keys, values = (x[:, :, :m].transpose(0, 1) for x in both)
    keys.copy_(k)
    if not mixing:
        values.copy_(v)
    else:
        mean = v.mean(2, keepdim=True, dtype=dtype)
        if rstd is None:
            torch.sub(v, mean, out=values)
        else:
            torch.mul(v - mean, rstd * VALUE_SCALE.get(v.dtype, 1.0), out=values)
    return both[0].flatten(0, 1), both[1].flatten(0, 1)
