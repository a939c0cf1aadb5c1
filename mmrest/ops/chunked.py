"""EMSA, exact and linear in memory: no attention map is ever stored.

Each row of a softmax sums to one, so the mean of a map A with n' keys is 1 / n', and InstanceNorm, which
goes with the interaction of the heads, needs nothing but its second moment:

    InstanceNorm(A) V = r (A - 1/n') (V - mean V),    r = (mean((A - 1/n')^2) + eps)^(-1/2)

The map is made a block of queries at a time, used and overwritten. Only the scalar r of each map has to be known
from all blocks, and it can be multiplied in at the end. Without interaction there is no norm either, and a block is a
softmax between two products. The backward pass makes the blocks once more. Both passes are custom operators, so that
``torch.compile`` sees one node each instead of an unrolled loop.

Blocks have three forms. On a CPU they are small enough to stay in cache, and everything in them is float32: that is
here. On other devices they are large, with operands of matrix products in the dtype of the queries: that is in
:mod:`mmrest.ops.wide_blocks`, with steps of PyTorch between the products or, where it is asked for, of Triton.
"""

from __future__ import annotations

from typing import Iterator

import torch
from torch import Tensor

from . import wide_blocks
from .products import Scratch, head_products, mix_heads
from .triton_rows import TritonSteps, runs_kernels
from .wide_blocks import TorchSteps, token_major

# Elements of all heads' maps that one block holds. On a CPU a few buffers of this size stay in the second- and
# third-level cache. On a GPU fewer and larger launches are faster. The scratch of a backward pass is three times as
# many floats, 300 MB; stages 3 and 4 of one 800x1344 image are a single block.
BLOCK_ELEMENTS = {'cached': 2**19, 'wide': 3 * 2**23, 'triton': 3 * 2**23}
WIDE_STEPS: dict[str, type[wide_blocks.Steps]] = {'wide': TorchSteps, 'triton': TritonSteps}


def emsa_chunked(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mix_weight: Tensor | None = None,
    mix_bias: Tensor | None = None,
    eps: float = 1e-5,
    block_elements: int | None = None,
    form: str | None = None,
) -> Tensor:
    """:func:`~mmrest.ops.emsa` in memory linear in queries and in keys.

    Args:
        q (Tensor): Queries, (B, k, n, d), float64, float32, bfloat16 or float16.
        k, v (Tensor): Keys and values, (B, k, n', d), in the dtype of ``q``.
        mix_weight (Tensor, optional): (k, k), interaction of the heads. None: neither that nor InstanceNorm.
        mix_bias (Tensor, optional): (k,). Softmax removes it, so it is not read; its gradient is exactly 0.
        eps (float): Added to the variance in the InstanceNorm.
        block_elements (int, optional): Elements of the maps made at a time. Default: by form.
        form (str, optional): 'cached', 'wide' or 'triton'. 'triton' falls back to the device's default form where its
            kernels cannot run. Default: by device, see :func:`choose_form`.

    Returns:
        Tensor: (B, k, n, d). It can be differentiated once; twice raises a RuntimeError.
    """
    return _forward(q, k, v, mix_weight, mix_bias, eps, block_elements, form)[0]


def blocks(batch: int, heads: int, n: int, m: int, block_elements: int) -> Iterator[tuple[slice, list[slice]]]:
    """Yield slices of images and, for each, slices of query rows: several whole images, or equal parts of one."""
    per_row = max(heads * m, 1)
    images = max(block_elements // max(per_row * n, 1), 1)
    parts = -(-n // max(block_elements // per_row, 1))
    rows = -(-n // max(parts, 1))
    for b in range(0, batch, images):
        yield slice(b, min(b + images, batch)), [slice(i, min(i + rows, n)) for i in range(0, n, rows)]


def choose_form(device_type: str) -> str:
    """Return the form of blocks for a device: 'cached' in a CPU's cache, or 'wide', a few large operations."""
    return 'cached' if device_type == 'cpu' else 'wide'


def resolve_form(form: str | None, q: Tensor, mixing: bool) -> str:
    """Return the requested form, or the device's default if none is requested or Triton's kernels cannot run it."""
    if form is None or form == 'triton' and not (mixing and runs_kernels(q, q.shape[1])):
        return choose_form(q.device.type)
    return form


def _map_dtype(q: Tensor) -> torch.dtype:
    """Return the dtype of attention maps and sums."""
    return torch.promote_types(q.dtype, torch.float32)


def _mix(weight: Tensor, maps: Tensor, out: Tensor) -> Tensor:
    """out_h = sum_g weight_hg maps_g; maps of one image or several, (images * k, rows, n')."""
    heads = weight.shape[0]
    if maps.shape[0] == heads:
        return mix_heads(weight, maps, out)
    shape = (maps.shape[0] // heads, heads, -1)
    torch.matmul(weight, maps.view(shape), out=out.view(shape))
    return out


def _per_head(x: Tensor, dtype: torch.dtype) -> Tensor:
    """(images, k, rows, d) -> (images * k, rows, d); a view of a single image."""
    return (x[0] if x.shape[0] == 1 else x.flatten(0, 1)).to(dtype)


@torch.library.custom_op(
    'mmrest::emsa_chunked',
    mutates_args=(),
    schema='(Tensor q, Tensor k, Tensor v, Tensor? mix_weight, Tensor? mix_bias, float eps, int? block_elements, '
    'str? form) -> (Tensor, Tensor)',
)
def _forward(q, k, v, mix_weight, mix_bias, eps, block_elements, form):
    """The output and, with mixing, r, (B, k, 1, 1)."""
    batch, heads, n, d = q.shape
    m, dtype = k.shape[2], _map_dtype(q)
    mixing = mix_weight is not None
    form = resolve_form(form, q, mixing)
    block_elements = block_elements or BLOCK_ELEMENTS[form]
    with torch.autocast(q.device.type, enabled=False):
        if form != 'cached':
            return wide_blocks.forward(q, k, v, mix_weight, eps, block_elements, WIDE_STEPS[form])
        weight = mix_weight.to(dtype) * d**-0.5 if mixing else None
        out = token_major(q)
        row_norms = q.new_empty(batch, heads, n if mixing else 0, dtype=dtype)
        scratch = Scratch(q)
        for images, parts in blocks(batch, heads, n, m, block_elements):
            keys = _keys(k[images], dtype, mixing).transpose(1, 2).contiguous()
            values = _values(v[images], dtype, mixing)
            for rows in parts:
                block = q[images, :, rows]
                queries = _per_head(block, dtype)
                shape = (queries.shape[0], queries.shape[1], m)
                maps = torch.bmm(queries, keys, out=scratch('first', shape, dtype))
                if mixing:
                    mixed = _mix(weight, maps, scratch('second', shape, dtype))
                    maps = torch.softmax(mixed, -1, out=maps).sub_(1 / m)
                    row_norms[images, :, rows] = torch.linalg.vector_norm(maps, dim=-1).view(block.shape[:3])
                else:
                    maps = torch.softmax(maps, -1, out=maps)
                out[images, :, rows] = torch.bmm(maps, values).view(block.shape)
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


@_forward.register_fake
def _(q, k, v, mix_weight, mix_bias, eps, block_elements, form):
    return token_major(q), q.new_empty((0,) if mix_weight is None else (*q.shape[:2], 1, 1), dtype=_map_dtype(q))


@torch.library.custom_op(
    'mmrest::emsa_chunked_backward',
    mutates_args=(),
    schema='(Tensor grad, Tensor q, Tensor k, Tensor v, Tensor? mix_weight, Tensor? out, Tensor? rstd, '
    'int? block_elements, str? form) -> (Tensor, Tensor, Tensor, Tensor)',
)
def _backward(grad, q, k, v, mix_weight, out, rstd, block_elements, form):
    """Gradients of q, k, v and mix_weight (empty without mixing)."""
    batch, heads, n, d = q.shape
    m, dtype = k.shape[2], _map_dtype(q)
    mixing = mix_weight is not None
    form = resolve_form(form, q, mixing)
    block_elements = block_elements or BLOCK_ELEMENTS[form]
    with torch.autocast(q.device.type, enabled=False):
        if form != 'cached':
            return wide_blocks.backward(grad, q, k, v, mix_weight, out, rstd, block_elements, WIDE_STEPS[form])
        grad_q, grad_k, grad_v = token_major(q), token_major(k), token_major(v)
        grad_weight = q.new_zeros(heads, heads, dtype=torch.float64)
        if mixing:
            weight = mix_weight.to(dtype) * d**-0.5
            weight_t = weight.t().contiguous()
            # The variance passes -r^2 <dO, O> / (n n') (A - 1/n') to A. The constant 1/n' drops out in the
            # backward pass of softmax, so A itself will do.
            through_variance = (grad.to(dtype) * out).sum(-1).double().sum(-1)[..., None, None]
            through_variance = (-rstd.double().square() * through_variance / max(n * m, 1)).to(dtype)
        scratch = Scratch(q)
        for images, parts in blocks(batch, heads, n, m, block_elements):
            keys = _keys(k[images], dtype, mixing).contiguous()
            keys_t = keys.transpose(1, 2).contiguous()
            values_t = _values(v[images], dtype, mixing)
            if mixing:
                factor, shift = (x[images].view(-1, 1, 1) for x in (rstd, through_variance))
                values_t = values_t * factor
            values_t = values_t.transpose(1, 2).contiguous()
            sum_k = torch.zeros_like(keys)
            sum_v = torch.zeros_like(sum_k)
            for rows in parts:
                block = q[images, :, rows]
                queries, grads = _per_head(block, dtype), _per_head(grad[images, :, rows], dtype)
                shape = (queries.shape[0], queries.shape[1], m)
                logits = torch.bmm(queries, keys_t, out=scratch('logits', shape, dtype))
                mixed = _mix(weight, logits, scratch('grads', shape, dtype)) if mixing else logits
                maps = torch.softmax(mixed, -1, out=scratch('maps', shape, dtype))
                buffer = torch.bmm(grads, values_t, out=mixed)
                if mixing:
                    buffer.addcmul_(maps, shift)
                # sum_j A dA is computed from these A and dA, not from a saved value: every row of the result
                # must sum to zero, or the gradient of the mixing weights loses its digits.
                torch._softmax_backward_data(buffer, maps, -1, dtype, grad_input=buffer)
                sum_v.baddbmm_((maps.sub_(1 / m) if mixing else maps).transpose(1, 2), grads)
                if mixing:
                    grad_weight += _products_of_heads(buffer, logits, heads)
                    buffer = _mix(weight_t, buffer, maps)
                grad_q[images, :, rows] = torch.bmm(buffer, keys).view(block.shape)
                sum_k.baddbmm_(buffer.transpose(1, 2), queries)
            grad_k[images] = (sum_k if mixing else sum_k.mul_(d**-0.5)).view(k[images].shape)
            grad_v[images] = (sum_v.mul_(factor) if mixing else sum_v).view(v[images].shape)
        if not mixing:
            return grad_q, grad_k, grad_v, q.new_empty(0)
        return grad_q, grad_k, grad_v, (grad_weight * d**-0.5).to(mix_weight.dtype)


def _keys(k: Tensor, dtype: torch.dtype, mixing: bool) -> Tensor:
    """(images * k, n', d); 1 / sqrt(d) is in the mixing weights, or else in these."""
    return _per_head(k if mixing else k * k.shape[-1] ** -0.5, dtype)


def _values(v: Tensor, dtype: torch.dtype, mixing: bool) -> Tensor:
    """(images * k, n', d); centered if the maps will be."""
    v = _per_head(v, dtype)
    return v - v.mean(1, keepdim=True) if mixing else v


def _products_of_heads(a: Tensor, b: Tensor, heads: int) -> Tensor:
    """sum over images, rows and keys of a_h b_g, (k, k) in float64."""
    if a.shape[0] == heads:
        return head_products(a[:, None], b[:, None])
    a, b = (x.unflatten(0, (-1, heads)) for x in (a, b))
    return torch.matmul(a.permute(0, 2, 1, 3), b.permute(0, 2, 3, 1)).sum((0, 1), dtype=torch.float64)


@_backward.register_fake
def _(grad, q, k, v, mix_weight, out, rstd, block_elements, form):
    grad_weight = q.new_empty(0) if mix_weight is None else torch.empty_like(mix_weight)
    return token_major(q), token_major(k), token_major(v), grad_weight


def _save(ctx, inputs, output) -> None:
    q, k, v, mix_weight, mix_bias, _, ctx.block_elements, ctx.form = inputs
    ctx.set_materialize_grads(False)
    ctx.bias = None if mix_bias is None else (mix_bias.shape, mix_bias.dtype)
    ctx.save_for_backward(q, k, v, mix_weight, *(output if mix_weight is not None else (None, None)))


def _differentiate(ctx, grad, _):
    if grad is None:
        return (None,) * 8
    q, k, v, mix_weight, out, rstd = ctx.saved_tensors
    *grads, grad_weight = _backward(grad.to(q.dtype), q, k, v, mix_weight, out, rstd, ctx.block_elements, ctx.form)
    # Exactly zero rather than absent, so that DistributedDataParallel gets what it waits for.
    grad_bias = None if ctx.bias is None else q.new_zeros(ctx.bias[0], dtype=ctx.bias[1])
    return *grads, None if mix_weight is None else grad_weight, grad_bias, None, None, None


def _refuse(ctx, *_):
    raise RuntimeError(
        'The chunked form of EMSA can be differentiated only once. Where second derivatives are needed, '
        "build the backbone with attn_impl='reference' (or set MMREST_ATTN_IMPL=reference)."
    )


torch.library.register_autograd(_forward._qualname, _differentiate, setup_context=_save)
torch.library.register_autograd(_backward._qualname, _refuse)
