"""Efficient multi-head self-attention (EMSA) as a function of queries, keys and values."""
from __future__ import annotations

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor


def emsa(q: Tensor,
         k: Tensor,
         v: Tensor,
         mix_weight: Tensor | None = None,
         mix_bias: Tensor | None = None,
         eps: float = 1e-5,
         dropout_p: float = 0.0) -> Tensor:
    """Attention with optional interaction of the heads; picks the implementation.

    Without head mixing this is plain attention and goes through PyTorch's
    ``scaled_dot_product_attention``; with it, through :func:`emsa_reference`.

    Args:
        q (Tensor): Queries, (B, k, n, d): batch, heads, tokens, channels of a head.
        k (Tensor): Keys, (B, k, n', d).
        v (Tensor): Values, (B, k, n', d).
        mix_weight (Tensor, optional): (k, k), row h holds the weights with which the logits of all
            heads enter head h. None: the heads stay apart and no InstanceNorm is applied.
        mix_bias (Tensor, optional): (k,), added to the mixed logits. Softmax removes it again.
        eps (float): Added to the variance in the InstanceNorm of the attention maps.
        dropout_p (float): Probability of dropping an entry of the attention map.

    Returns:
        Tensor: (B, k, n, d), in the dtype of ``v``.
    """
    if mix_weight is None:
        return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout_p)
    return emsa_reference(q, k, v, mix_weight, mix_bias, eps, dropout_p)


def emsa_reference(q: Tensor,
                   k: Tensor,
                   v: Tensor,
                   mix_weight: Tensor | None = None,
                   mix_bias: Tensor | None = None,
                   eps: float = 1e-5,
                   dropout_p: float = 0.0) -> Tensor:
    """The formula of EMSA as it is printed (ResT, arXiv 2105.13677, equation 4), map by map.

    ``InstanceNorm(softmax(Conv(q kT / sqrt(d)))) v``, where the 1x1 convolution runs across heads.
    Arguments and result as in :func:`emsa`. The maps are kept in float32 or better: softmax and
    InstanceNorm lose too much in half precision. Memory grows with n x n'.
    """
    logits = (q * q.shape[-1]**-0.5) @ k.transpose(-2, -1)
    with nullcontext() if q.is_meta else torch.autocast(q.device.type, enabled=False):  # meta knows no autocast
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if mix_weight is None:
            maps = logits.softmax(dim=-1)
        else:
            # A 1x1 convolution over a handful of heads is a small matrix product.
            mixed = torch.einsum('hg,bgnm->bhnm', mix_weight.to(logits), logits)
            if mix_bias is not None:
                mixed = mixed + mix_bias.to(logits)[:, None, None]
            maps = instance_norm(mixed.softmax(dim=-1), eps)
    maps = F.dropout(maps, dropout_p).to(v.dtype)
    return maps @ v


def instance_norm(maps: Tensor, eps: float = 1e-5) -> Tensor:
    """InstanceNorm2d without affine parameters or running statistics.

    Unlike ``torch.nn.functional.instance_norm`` it accepts a map of one element, which is its own
    mean: the result is 0, as the formula says.

    Args:
        maps (Tensor): (B, k, n, n').
        eps (float): Added to the variance.
    """
    centred = maps - maps.mean(dim=(-2, -1), keepdim=True)
    variance = centred.square().mean(dim=(-2, -1), keepdim=True)
    return centred * (variance + eps).rsqrt()
