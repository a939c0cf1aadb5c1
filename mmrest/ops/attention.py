"""Efficient multi-head self-attention (EMSA) as a function of queries, keys and values."""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from .blocked import emsa_blocked
from .chunked import emsa_chunked
from .modes import autocast_dtype, is_exporting, is_recording_program, is_transforming

IMPLS = ('auto', 'reference', 'direct', 'chunked', 'triton')
# 'auto' takes emsa_direct up to this many map elements: storing small maps is cheaper than recomputing them, and on a
# GPU takes half as many launches.
DIRECT_ELEMENTS = {'cpu': 2**18, 'cuda': 2**20}
# Map elements of a block of _mixed_by_rows.
ROW_ELEMENTS = 2**22
ENV_IMPL = 'MMREST_ATTN_IMPL'


def resolve_impl(attn_impl: str | None = None) -> str:
    """Return the implementation of attention to use.

    Args:
        attn_impl (str, optional): 'auto', 'reference', 'direct', 'chunked' or 'triton', see :func:`emsa`. None: the
            value of the environment variable MMREST_ATTN_IMPL, or 'auto' where it is unset or empty.

    Raises:
        ValueError: The argument or the variable is none of these.
    """
    source, impl = 'attn_impl', attn_impl
    if attn_impl is None:
        source, impl = f'value of the environment variable {ENV_IMPL}', os.environ.get(ENV_IMPL) or 'auto'
    if impl not in IMPLS:
        raise ValueError(f'Unknown {source} {impl!r}: choose from {", ".join(IMPLS)}.')
    return impl


def emsa(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mix_weight: Tensor | None = None,
    mix_bias: Tensor | None = None,
    eps: float = 1e-5,
    dropout_p: float = 0.0,
    impl: str = 'auto',
    normalize: bool = True,
) -> Tensor:
    """Attention with optional interaction of the heads; picks the implementation.

    In this order:

    * ``torch.export`` and ONNX export record :func:`~mmrest.ops.blocked.emsa_blocked`, except with 'reference'.
    * Without head mixing, 'auto' and 'triton' on a GPU call PyTorch's ``scaled_dot_product_attention``.
    * Dropout of the map, the meta device, ``torch.jit.trace``, forward-mode derivatives and transforms of
      ``torch.func`` take :func:`emsa_reference`.
    * Head mixing without InstanceNorm takes the same formula by blocks of queries, whatever ``impl`` says.
    * Otherwise small maps go through :func:`emsa_direct` and larger ones through :func:`~mmrest.ops.emsa_chunked`,
      whose memory is linear, or through the one that ``impl`` names.

    All agree up to rounding.

    Args:
        q (Tensor): Queries, (B, k, n, d): batch, heads, tokens, channels of a head.
        k (Tensor): Keys, (B, k, n', d).
        v (Tensor): Values, (B, k, n', d).
        mix_weight (Tensor, optional): (k, k), row h holds the weights with which the logits of all
            heads enter head h. None: the heads stay apart and no InstanceNorm is applied.
        mix_bias (Tensor, optional): (k,), added to the mixed logits. Softmax removes it again.
        eps (float): Added to the variance in the InstanceNorm of the attention maps.
        dropout_p (float): Probability of dropping an entry of the attention map.
        impl (str): 'auto', 'reference', 'direct', 'chunked' or 'triton'. 'triton' is 'chunked' for mixed heads, with
            Triton's kernels where they run (:mod:`~mmrest.ops.triton_rows`), and 'auto' without mixing.
        normalize (bool): InstanceNorm of the maps of mixed heads.

    Returns:
        Tensor: (B, k, n, d), in the dtype of ``v``, or that of autocast.

    Raises:
        ValueError: There is no such implementation, or the shapes do not go together.
    """
    if impl not in IMPLS:
        raise ValueError(f'Unknown impl {impl!r}: choose from {", ".join(IMPLS)}.')
    if is_exporting() or is_transforming():
        if is_recording_program() and dropout_p == 0 and impl != 'reference':
            return emsa_blocked(q, k, v, mix_weight, mix_bias, eps, normalize)
        return emsa_reference(q, k, v, mix_weight, mix_bias, eps, dropout_p, normalize)
    if k.shape != v.shape or q.shape[:2] != k.shape[:2] or q.shape[3:] != k.shape[3:]:
        raise ValueError(
            f"Expected queries (B, heads, n, d), and keys and values (B, heads, n', d); got {tuple(q.shape)}, "
            f'{tuple(k.shape)} and {tuple(v.shape)}.'
        )
    if mix_weight is None and impl == 'triton':
        impl = 'auto'
    if mix_weight is None and q.is_cuda and impl == 'auto':
        return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout_p)
    empty = 0 in (*q.shape, k.shape[2])
    if impl == 'reference' or dropout_p > 0 or q.is_meta or empty:
        return emsa_reference(q, k, v, mix_weight, mix_bias, eps, dropout_p, normalize)
    if mix_weight is not None and not normalize:
        return _mixed_by_rows(q, k, v, mix_weight, mix_bias)
    q, k, v = _in_one_dtype(q, k, v)
    if impl == 'direct' or impl == 'auto' and q.shape[:3].numel() * k.shape[2] <= max_direct_elements(q.device.type):
        return emsa_direct(q, k, v, mix_weight, mix_bias, eps)
    return emsa_chunked(q, k, v, mix_weight, mix_bias, eps, form='triton' if impl == 'triton' else None)


def max_direct_elements(device_type: str) -> int:
    """Return how many elements of maps :func:`emsa` keeps on a device."""
    return DIRECT_ELEMENTS.get(device_type, DIRECT_ELEMENTS['cuda'])


def _in_one_dtype(*tensors: Tensor) -> list[Tensor]:
    """Cast to the dtype of autocast, which does not reach custom operators, or else to that of the last tensor."""
    dtype = autocast_dtype(tensors[-1]) or tensors[-1].dtype
    return [x.to(dtype) for x in tensors]


def _mixed_by_rows(q: Tensor, k: Tensor, v: Tensor, mix_weight: Tensor, mix_bias: Tensor | None) -> Tensor:
    """:func:`emsa` with head mixing, without InstanceNorm: rows of a map have nothing to do with each other.

    A block of them is made at a time, and once more in the backward pass, so memory is linear.
    """
    rows = max(ROW_ELEMENTS // max(q.shape[:2].numel() * k.shape[2], 1), 1)
    if q.shape[2] <= rows:
        return emsa_reference(q, k, v, mix_weight, mix_bias, normalize=False)

    def attend(block: Tensor) -> Tensor:
        return emsa_reference(block, k, v, mix_weight, mix_bias, normalize=False)

    saving = torch.is_grad_enabled()
    return torch.cat(
        [checkpoint(attend, block, use_reentrant=False) if saving else attend(block) for block in q.split(rows, dim=2)],
        dim=2,
    )


def emsa_direct(
    q: Tensor, k: Tensor, v: Tensor, mix_weight: Tensor | None = None, mix_bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """:func:`emsa` with whole maps in memory, with the algebra of :mod:`mmrest.ops.chunked`.

    Arguments and result as in :func:`emsa`. The bias is not added, but stays in the graph with a gradient
    that is exactly zero.
    """
    if mix_weight is None:
        return emsa_reference(q, k, v)
    with torch.autocast(q.device.type, enabled=False):
        dtype = torch.promote_types(q.dtype, torch.float32)
        weight = mix_weight.to(dtype) * q.shape[-1] ** -0.5
        if mix_bias is not None:
            weight = weight + 0 * mix_bias.to(dtype)[:, None]
        logits = (q @ k.transpose(-2, -1)).to(dtype)
        maps = mix_directly(weight, logits, q.device.type).softmax(dim=-1) - 1 / k.shape[2]
        rstd = (maps.square().mean(dim=(-2, -1), keepdim=True) + eps).rsqrt()
        if v.dtype == dtype:
            return (maps @ v) * rstd
        return (maps * rstd).to(v.dtype) @ v  # normalized first: unnormalized maps would underflow in half precision


def mix_directly(weight: Tensor, logits: Tensor, device_type: str) -> Tensor:
    """Mix the logits of all heads, (B, k, n, n'), in full precision in both passes.

    On a CPU by a matrix product. Elsewhere that might be rounded to TF32, and maps are small enough to be multiplied
    and added up.
    """
    if device_type == 'cpu':
        return torch.einsum('hg,bgnm->bhnm', weight, logits)
    return (weight[:, :, None, None] * logits[:, None]).sum(2)


def emsa_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mix_weight: Tensor | None = None,
    mix_bias: Tensor | None = None,
    eps: float = 1e-5,
    dropout_p: float = 0.0,
    normalize: bool = True,
) -> Tensor:
    """The formula of EMSA as it is printed (ResT, arXiv 2105.13677, equation 4), map by map.

    ``InstanceNorm(softmax(Conv(q kT / sqrt(d)))) v``, where the 1x1 convolution runs across heads.
    Arguments and result as in :func:`emsa`. The maps are kept in float32 or better: softmax and
    InstanceNorm lose too much in half precision. Memory grows with n x n'.
    """
    logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    with nullcontext() if q.is_meta else torch.autocast(q.device.type, enabled=False):  # meta knows no autocast
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if mix_weight is None:
            maps = logits.softmax(dim=-1)
        else:
            # A 1x1 convolution over a handful of heads is a small matrix product.
            mixed = torch.einsum('hg,bgnm->bhnm', mix_weight.to(logits), logits)
            if mix_bias is not None:
                mixed = mixed + mix_bias.to(logits)[:, None, None]
            maps = _normalized(mixed, eps, normalize)
    maps = F.dropout(maps, dropout_p) if dropout_p > 0 else maps
    return maps.to(v.dtype) @ v


def emsa_through(
    mix: Callable[[Tensor], Tensor],
    q: Tensor,
    k: Tensor,
    v: Tensor,
    eps: float = 1e-5,
    dropout_p: float = 0.0,
    normalize: bool = True,
) -> Tensor:
    """Compute :func:`emsa_reference` with an arbitrary module that mixes the heads.

    Args:
        mix (Callable): Gets the scaled logits of all heads, (B, k, n, n'), and returns the mixed ones.
        q, k, v, eps, dropout_p, normalize: As in :func:`emsa`.

    Returns:
        Tensor: (B, k, n, d).
    """
    mixed = mix((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1))
    with nullcontext() if q.is_meta else torch.autocast(q.device.type, enabled=False):
        maps = _normalized(mixed.to(torch.promote_types(mixed.dtype, torch.float32)), eps, normalize)
    maps = F.dropout(maps, dropout_p) if dropout_p > 0 else maps
    return maps.to(v.dtype) @ v


def _normalized(mixed: Tensor, eps: float, normalize: bool) -> Tensor:
    maps = mixed.softmax(dim=-1)
    return instance_norm(maps, eps) if normalize else maps


def instance_norm(maps: Tensor, eps: float = 1e-5) -> Tensor:
    """InstanceNorm2d without affine parameters or running statistics.

    Unlike ``torch.nn.functional.instance_norm`` it accepts a map of one element, which is its own
    mean: the result is 0, as the formula says.

    Args:
        maps (Tensor): (B, k, n, n').
        eps (float): Added to the variance.
    """
    centered = maps - maps.mean(dim=(-2, -1), keepdim=True)
    # Twice, to remove the rounding error of the first mean: in a sum over millions, some runtimes lose digits.
    centered = centered - centered.mean(dim=(-2, -1), keepdim=True)
    variance = centered.square().mean(dim=(-2, -1), keepdim=True)
    return centered * (variance + eps).rsqrt()
