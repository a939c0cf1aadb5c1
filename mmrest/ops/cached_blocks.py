"""EMSA by blocks of queries that stay in a CPU's cache; the algebra is that of :mod:`mmrest.ops.chunked`.

Softmax, moments and sums over blocks are float32 or better. The products are a parameter, with the layout of the maps
that goes with them: :class:`BatchedProducts`, or :class:`GroupedProducts` where oneDNN is faster.
"""

from __future__ import annotations

from typing import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from .linear import as_map, weight_gradient
from .processor import bfloat16_library, float32_library
from .products import Scratch, head_products, mix_heads
from .wide_blocks import token_major

# Below, in any dimension, a convolution is no faster than a product.
MIN_GROUPED_SIZE = 32


class BatchedProducts:
    """Products of matrices, (images * k, rows, n') for maps and (images * k, rows, d) for tokens.

    Args:
        q (Tensor): Queries, (B, k, n, d).
        operand (torch.dtype): Dtype of the factors of products. Maps are in float32 or better, whatever it is.
    """

    # Elements of all heads' maps that a block of a forward pass holds, and one of a backward pass, which has more
    # buffers of that size: they stay in the second- and third-level cache.
    block_elements = (2**19, 2**19)

    def __init__(self, q: Tensor, operand: torch.dtype) -> None:
        self.num_heads, self.operand = q.shape[1], operand
        self.dtype = torch.promote_types(q.dtype, torch.float32)
        self.scratch = Scratch(q)

    def tokens(self, x: Tensor) -> Tensor:
        """(images, k, rows, d) -> tokens as factors of products."""
        return (x[0] if x.shape[0] == 1 else x.flatten(0, 1)).to(self.operand)

    def heads(self, tokens: Tensor) -> Tensor:
        """Tokens -> (images, k, rows, d)."""
        return tokens.unflatten(0, (-1, self.num_heads))

    def row_values(self, x: Tensor) -> Tensor:
        """A number for each row of the maps -> (images, k, rows)."""
        return x.unflatten(0, (-1, self.num_heads))

    def map_values(self, x: Tensor) -> Tensor:
        """A number for each map, (images, k, 1, 1) -> what can be multiplied with maps."""
        return x.reshape(-1, 1, 1)

    def expander(self, x: Tensor) -> Tensor:
        """(images * k, n', d) -> the right factor of :meth:`expand`."""
        return x.to(self.operand).transpose(1, 2).contiguous()

    def contractor(self, x: Tensor) -> Tensor:
        """(images * k, n', d) -> the right factor of :meth:`contract`."""
        return x.to(self.operand).contiguous()

    def expand(self, tokens: Tensor, factor: Tensor, name: str) -> Tensor:
        """Tokens times the transpose of (images * k, n', d): maps, in the buffer of a name."""
        shape = (*tokens.shape[:2], factor.shape[2])
        maps = self.scratch(name, shape, self.dtype)
        if self.operand == self.dtype:
            return torch.bmm(tokens, factor, out=maps)
        return maps.copy_(torch.bmm(tokens, factor, out=self.scratch('narrow', shape, self.operand)))

    def factor(self, maps: Tensor) -> Tensor:
        """Maps as factors of products, until the next call of this or of :meth:`expand`."""
        if self.operand == self.dtype:
            return maps
        return self.scratch('narrow', tuple(maps.shape), self.operand).copy_(maps)

    def contract(self, maps: Tensor, factor: Tensor) -> Tensor:
        """Maps times (images * k, n', d): tokens."""
        return torch.bmm(maps, factor)

    def add_transposed(self, total: Tensor, maps: Tensor, tokens: Tensor) -> None:
        """Add the transpose of maps times tokens to (images * k, n', d)."""
        if self.operand == self.dtype:
            total.baddbmm_(maps.transpose(1, 2), tokens)
        else:
            total += torch.bmm(maps.transpose(1, 2), tokens)

    def mix(self, weight: Tensor, maps: Tensor, name: str) -> Tensor:
        """Maps of all heads mixed, out_h = sum_g weight_hg maps_g, in the buffer of a name."""
        out = self.scratch(name, tuple(maps.shape), self.dtype)
        if maps.shape[0] == self.num_heads:
            return mix_heads(weight, maps, out)
        shape = (maps.shape[0] // self.num_heads, self.num_heads, -1)
        torch.matmul(weight, maps.view(shape), out=out.view(shape))
        return out

    def head_products(self, a: Tensor, b: Tensor) -> Tensor:
        """Sum over images, rows and keys of a_h b_g, (k, k) in float64."""
        if a.shape[0] == self.num_heads:
            return head_products(a[:, None], b[:, None])
        a, b = (x.unflatten(0, (-1, self.num_heads)) for x in (a, b))
        return torch.matmul(a.permute(0, 2, 1, 3), b.permute(0, 2, 3, 1)).sum((0, 1), dtype=torch.float64)


class NarrowProducts(BatchedProducts):
    """:class:`BatchedProducts` of operands in half precision, by oneDNN."""

    block_elements = (2**20, 2**19)


class GroupedProducts(BatchedProducts):
    """The products of all heads as one grouped 1x1 convolution: maps (rows, images * k, n'), tokens likewise.

    In this layout tokens are the channels-last map that the linear layers around the attention read and write.
    """

    block_elements = (2**20, 2**19)

    def tokens(self, x: Tensor) -> Tensor:
        """(images, k, rows, d) -> (rows, images * k, d); a view of queries of one image."""
        return x.permute(2, 0, 1, 3).flatten(1, 2).contiguous()

    def heads(self, tokens: Tensor) -> Tensor:
        """(rows, images * k, d) -> (images, k, rows, d)."""
        return tokens.unflatten(1, (-1, self.num_heads)).permute(1, 2, 0, 3)

    def row_values(self, x: Tensor) -> Tensor:
        """(rows, images * k) -> (images, k, rows)."""
        return x.unflatten(1, (-1, self.num_heads)).permute(1, 2, 0)

    def map_values(self, x: Tensor) -> Tensor:
        """(images, k, 1, 1) -> (images * k, 1)."""
        return x.reshape(-1, 1)

    def expander(self, x: Tensor) -> Tensor:
        """(images * k, n', d) -> weights of the convolution."""
        return x.contiguous()

    def contractor(self, x: Tensor) -> Tensor:
        """(images * k, n', d) -> weights of the convolution, (images * k, d, n')."""
        return x.transpose(1, 2).contiguous()

    def expand(self, tokens: Tensor, factor: Tensor, name: str) -> Tensor:
        """Tokens times the transpose of (images * k, n', d): maps, in memory of their own."""
        return self.convolve(tokens, factor)

    def contract(self, maps: Tensor, factor: Tensor) -> Tensor:
        """Maps times (images * k, n', d): tokens."""
        return self.convolve(maps, factor)

    def convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        """(rows, groups, in) times (groups, out, in) -> (rows, groups, out)."""
        out = F.conv2d(as_map(x.flatten(1)), weight.flatten(0, 1)[..., None, None], groups=x.shape[1])
        return out.movedim(1, -1).reshape(*x.shape[:2], -1)

    def add_transposed(self, total: Tensor, maps: Tensor, tokens: Tensor) -> None:
        """Add the transpose of maps times tokens to (images * k, n', d)."""
        if maps.shape[1] > 1:  # oneDNN has no fast gradient of grouped weights
            total.baddbmm_(maps.permute(1, 2, 0), tokens.transpose(0, 1))
            return
        total += weight_gradient(maps[:, 0], tokens[:, 0])

    def mix(self, weight: Tensor, maps: Tensor, name: str) -> Tensor:
        """Maps of all heads mixed, out_h = sum_g weight_hg maps_g, in the buffer of a name."""
        out = self.scratch(name, tuple(maps.shape), self.dtype)
        by_image = (-1, self.num_heads, maps.shape[2])
        torch.bmm(
            weight.expand(out.numel() // (weight.shape[0] * maps.shape[2]), -1, -1),
            maps.view(by_image),
            out=out.view(by_image),
        )
        return out

    def head_products(self, a: Tensor, b: Tensor) -> Tensor:
        """Sum over images, rows and keys of a_h b_g, (k, k) in float64."""
        a, b = (x.view(-1, self.num_heads, x.shape[2]) for x in (a, b))
        return torch.bmm(a, b.transpose(1, 2)).sum(0, dtype=torch.float64)


def choose_products(q: Tensor, m: int) -> BatchedProducts:
    """Return the products for queries (B, k, n, d) and m keys, by dtype, size and processor."""
    if q.dtype == torch.bfloat16 and bfloat16_library() == 'onednn':
        return NarrowProducts(q, torch.bfloat16)
    operand = torch.promote_types(q.dtype, torch.float32)
    if operand == torch.float32 and float32_library() == 'onednn' and torch.get_num_threads() > 1:
        if min(*q.shape[2:], m) >= MIN_GROUPED_SIZE:
            return GroupedProducts(q, operand)
    return BatchedProducts(q, operand)


def forward(
    q: Tensor, k: Tensor, v: Tensor, mix_weight: Tensor | None, eps: float, block_elements: int | None = None
) -> tuple[Tensor, Tensor]:
    """Return the output, (B, k, n, d), and r, (B, k, 1, 1), which is empty without mixing."""
    batch, heads, n, d = q.shape
    m = k.shape[2]
    products = choose_products(q, m)
    dtype, mixing = products.dtype, mix_weight is not None
    if heads > 1 and not mixing and isinstance(products, GroupedProducts):
        out = token_major(q)
        for target, *head in _split_heads(out, q, k, v):
            target.copy_(forward(head[0], head[1], head[2], None, eps, block_elements)[0])
        return out, q.new_empty(0, dtype=dtype)
    weight = mix_weight.to(dtype) * d**-0.5 if mix_weight is not None else None
    out = token_major(q)
    row_norms = q.new_empty(batch, heads, n if mixing else 0, dtype=dtype)
    for images, parts in blocks(batch, heads, n, m, block_elements or products.block_elements[0]):
        keys = products.expander(_keys(k[images], dtype, mixing))
        values = products.contractor(_values(v[images], dtype, mixing))
        for rows in parts:
            maps = products.expand(products.tokens(q[images, :, rows]), keys, 'first')
            if weight is not None:
                mixed = products.mix(weight, maps, 'second')
                maps = torch.softmax(mixed, -1, out=maps).sub_(1 / m)
                row_norms[images, :, rows] = products.row_values(torch.linalg.vector_norm(maps, dim=-1))
            else:
                maps = torch.softmax(maps, -1, out=maps)
            out[images, :, rows] = products.heads(products.contract(products.factor(maps), values))
    if not mixing:
        return out, q.new_empty(0, dtype=dtype)
    # Over whole maps, so in float64: a float32 sum of millions of squares is good to four digits only.
    variance = row_norms.double().square().sum(-1)[..., None, None] / max(n * m, 1)
    rstd = (variance + eps).rsqrt().to(dtype)
    if out.dtype == dtype:
        out.mul_(rstd)
    else:
        out.copy_(out.to(dtype) * rstd)
    return out, rstd


def backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mix_weight: Tensor | None,
    out: Tensor,
    rstd: Tensor,
    block_elements: int | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of q, k, v and mix_weight, which is empty without mixing.

    Arguments as in :func:`forward`, and what that returned; without mixing neither is read.
    """
    batch, heads, n, d = q.shape
    m = k.shape[2]
    products = choose_products(q, m)
    dtype, mixing = products.dtype, mix_weight is not None
    grad_q, grad_k, grad_v = token_major(q), token_major(k), token_major(v)
    if heads > 1 and not mixing and isinstance(products, GroupedProducts):
        for *targets, g, x, y, z in _split_heads(grad_q, grad_k, grad_v, grad, q, k, v):
            for target, found in zip(targets, backward(g, x, y, z, None, out, rstd, block_elements)):
                target.copy_(found)
        return grad_q, grad_k, grad_v, q.new_empty(0)
    grad_weight = q.new_zeros(heads, heads, dtype=torch.float64)
    if mix_weight is not None:
        weight = mix_weight.to(dtype) * d**-0.5
        weight_t = weight.t().contiguous()
        # The variance passes -r^2 <dO, O> / (n n') (A - 1/n') to A. The constant 1/n' drops out in the
        # backward pass of softmax, so A itself will do.
        through_variance = (grad.to(dtype) * out).sum(-1).double().sum(-1)[..., None, None]
        through_variance = (-rstd.double().square() * through_variance / max(n * m, 1)).to(dtype)
    for images, parts in blocks(batch, heads, n, m, block_elements or products.block_elements[1]):
        keys = _keys(k[images], dtype, mixing)
        values = _values(v[images], dtype, mixing)
        if mixing:
            factor, shift = rstd[images].reshape(-1, 1, 1), products.map_values(through_variance[images])
            values = values * factor
        keys_out, values_out, keys_in = products.expander(keys), products.expander(values), products.contractor(keys)
        sum_k = torch.zeros_like(keys, memory_format=torch.contiguous_format)
        sum_v = torch.zeros_like(sum_k)
        for rows in parts:
            queries, grads = (products.tokens(x[images, :, rows]) for x in (q, grad))
            logits = products.expand(queries, keys_out, 'logits')
            mixed = products.mix(weight, logits, 'grads') if mixing else logits
            maps = torch.softmax(mixed, -1, out=products.scratch('maps', tuple(logits.shape), dtype))
            buffer = products.expand(grads, values_out, 'grads' if mixing else 'logits')
            if mixing:
                buffer.addcmul_(maps, shift)
            # sum_j A dA is computed from these A and dA, not from a saved value: every row of the result
            # must sum to zero, or the gradient of the mixing weights loses its digits.
            torch._softmax_backward_data(buffer, maps, -1, dtype, grad_input=buffer)
            products.add_transposed(sum_v, products.factor(maps.sub_(1 / m) if mixing else maps), grads)
            if mixing:
                grad_weight += products.head_products(buffer, logits)
                buffer = products.mix(weight_t, buffer, 'maps')
            buffer = products.factor(buffer)
            grad_q[images, :, rows] = products.heads(products.contract(buffer, keys_in))
            products.add_transposed(sum_k, buffer, queries)
        grad_k[images] = (sum_k if mixing else sum_k.mul_(d**-0.5)).view(k[images].shape)
        grad_v[images] = (sum_v.mul_(factor) if mixing else sum_v).view(v[images].shape)
    if mix_weight is None:
        return grad_q, grad_k, grad_v, q.new_empty(0)
    return grad_q, grad_k, grad_v, (grad_weight * d**-0.5).to(mix_weight.dtype)


def blocks(batch: int, heads: int, n: int, m: int, block_elements: int) -> Iterator[tuple[slice, list[slice]]]:
    """Yield slices of images and, for each, slices of query rows: several whole images, or equal parts of one."""
    per_row = max(heads * m, 1)
    images = max(block_elements // max(per_row * n, 1), 1)
    parts = -(-n // max(block_elements // per_row, 1))
    rows = -(-n // max(parts, 1))
    for b in range(0, batch, images):
        yield slice(b, min(b + images, batch)), [slice(i, min(i + rows, n)) for i in range(0, n, rows)]


def _split_heads(*tensors: Tensor) -> Iterator[list[Tensor]]:
    """Yield views of each head: without mixing heads are separate, and convolutions of one group are faster."""
    for h in range(tensors[0].shape[1]):
        yield [x[:, h : h + 1] for x in tensors]


def _keys(k: Tensor, dtype: torch.dtype, mixing: bool) -> Tensor:
    """(images * k, n', d); 1 / sqrt(d) is in the mixing weights, or else in these."""
    k = k.flatten(0, 1).to(dtype)
    return k if mixing else k * k.shape[-1] ** -0.5


def _values(v: Tensor, dtype: torch.dtype, mixing: bool) -> Tensor:
    """(images * k, n', d); centered if the maps will be."""
    v = v.flatten(0, 1).to(dtype)
    return v - v.mean(1, keepdim=True) if mixing else v
