"""EMSA, exact and linear in memory: no attention map is ever stored.

Each row of a softmax sums to one, so the mean of a map A with n' keys is 1 / n', and InstanceNorm, which
goes with the interaction of the heads, needs nothing but its second moment:

    InstanceNorm(A) V = r (A - 1/n') (V - mean V),    r = (mean((A - 1/n')^2) + eps)^(-1/2)

The map is made a block of queries at a time, used and overwritten. Only the scalar r of each map has to be known
from all blocks, and it can be multiplied in at the end. Without interaction there is no norm either, and a block is a
softmax between two products. The backward pass makes the blocks once more. Both passes are custom operators, so that
``torch.compile`` sees one node each instead of an unrolled loop.

Blocks have three forms. On a CPU they are small enough to stay in cache (:mod:`mmrest.ops.cached_blocks`). On other
devices they are large (:mod:`mmrest.ops.wide_blocks`), with steps of PyTorch between the products or, where it is asked
for, of Triton.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import cached_blocks, wide_blocks
from .triton_rows import TritonSteps, runs_kernels
from .wide_blocks import TorchSteps, token_major

# Elements of all heads' maps that one block of these forms holds: on a GPU fewer and larger launches are faster. The
# scratch of a backward pass is three times as many floats, 300 MB; stages 3 and 4 of one 800x1344 image are a single
# block. Those of the form 'cached' depend on its products.
BLOCK_ELEMENTS = {'wide': 3 * 2**23, 'triton': 3 * 2**23}
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


@torch.library.custom_op(
    'mmrest::emsa_chunked',
    mutates_args=(),
    schema='(Tensor q, Tensor k, Tensor v, Tensor? mix_weight, Tensor? mix_bias, float eps, int? block_elements, '
    'str? form) -> (Tensor, Tensor)',
)
def _forward(q, k, v, mix_weight, mix_bias, eps, block_elements, form):
    """The output and, with mixing, r, (B, k, 1, 1)."""
    form = resolve_form(form, q, mix_weight is not None)
    with torch.autocast(q.device.type, enabled=False):
        if form == 'cached':
            return cached_blocks.forward(q, k, v, mix_weight, eps, block_elements)
        block_elements = block_elements or BLOCK_ELEMENTS[form]
        return wide_blocks.forward(q, k, v, mix_weight, eps, block_elements, WIDE_STEPS[form])


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
    form = resolve_form(form, q, mix_weight is not None)
    with torch.autocast(q.device.type, enabled=False):
        if form == 'cached':
            return cached_blocks.backward(grad, q, k, v, mix_weight, out, rstd, block_elements)
        block_elements = block_elements or BLOCK_ELEMENTS[form]
        return wide_blocks.backward(grad, q, k, v, mix_weight, out, rstd, block_elements, WIDE_STEPS[form])


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
