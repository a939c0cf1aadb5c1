"""Feed-forward network of a block in chunks of tokens: its hidden values, 4 C a token, are never all in memory."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocked import HIDDEN_DIMS, MAX_FFN_BLOCKS, count_blocks, in_blocks
from .fast_paths import fast_paths_enabled
from .ffn_blocks import ffn_in_blocks
from .layers import recompute
from .linear import fast_linear, fast_weight_gradient
from .modes import (
    autocast_dtype,
    is_exporting,
    is_inference,
    is_recording_program,
    is_stock,
    is_tracing_or_compiling,
    is_transforming,
    is_unhooked,
)

# Hidden values of a block of tokens: few enough for the caches of a CPU, enough to keep a GPU busy.
BLOCK_ELEMENTS = {'cpu': 2**20, 'cuda': 2**26}
# In training on a CPU without recomputation: weights of fewer, larger blocks have to be added up.
KEPT_BLOCK_ELEMENTS = 2**22
_STOCK_FFNS: set[type[nn.Module]] = set()


def stock_ffn(kind: type[nn.Module]) -> type[nn.Module]:
    """Declare a class, as a decorator, to compute ``drop(fc2(drop(act(fc1(x)))))`` and nothing else."""
    _STOCK_FFNS.add(kind)
    return kind


def norm_ffn(norm: Any, ffn: Any, x: Tensor, recomputed: bool = False) -> Tensor:
    """Compute ``ffn(norm(x))``.

    With stock layers this takes memory for a block of tokens at a time: in inference always, in training where
    recomputation is asked for. Otherwise training on a CPU keeps the input of GELU, but not its output.

    Args:
        norm (nn.Module): LayerNorm.
        ffn (nn.Module): Feed-forward network; one of a class declared with :func:`stock_ffn` takes the fast paths.
        x (Tensor): (B, N, C).
        recomputed (bool): Keep only ``x`` for the backward pass.

    Returns:
        Tensor: (B, N, C).
    """
    if is_recording_program() and _is_stock_ffn(norm, ffn):
        hidden_dims = ffn.fc1.out_features
        num_blocks = count_blocks(x.shape[1], hidden_dims, min(HIDDEN_DIMS // hidden_dims, MAX_FFN_BLOCKS))
        return in_blocks(lambda block: ffn(norm(block)), x, 1, num_blocks)
    if is_inference(norm, ffn) and _is_stock_ffn(norm, ffn):
        return _by_blocks(norm, ffn, x)
    if not recomputed or not torch.is_grad_enabled():
        return _call_ffn(ffn, norm(x), _is_stock_ffn(norm, ffn))
    if _is_recomputable(norm, ffn, x):
        return ffn_recomputed(
            x, norm.weight, norm.bias, norm.eps, ffn.fc1.weight, ffn.fc1.bias, ffn.fc2.weight, ffn.fc2.bias
        )
    return recompute(lambda x: ffn(norm(x)), x)


def _by_blocks(norm: Any, ffn: Any, x: Tensor) -> Tensor:
    size = tokens_per_block(x.device.type, ffn.fc1.out_features)
    if x.shape[:-1].numel() <= size:
        return ffn(norm(x))
    tokens = x.flatten(0, -2)
    first = ffn(norm(tokens[:size]))
    out = first.new_empty(tokens.shape)  # in the dtype of autocast
    out[:size] = first
    for i in range(size, len(tokens), size):
        out[i : i + size] = ffn(norm(tokens[i : i + size]))
    return out.view(x.shape)


def _call_ffn(ffn: Any, x: Tensor, stock: bool) -> Tensor:
    """Compute ``ffn(x)``; in training on a CPU, more tokens than a block without keeping the output of GELU."""
    tokens = max(KEPT_BLOCK_ELEMENTS // ffn.fc1.out_features, 1) if stock else 0
    if not stock or x.device.type != 'cpu' or x.shape[:-1].numel() <= tokens or not torch.is_grad_enabled():
        return ffn(x)
    if is_tracing_or_compiling() or is_transforming() or not _is_plain(ffn):
        return ffn(x)
    dtype = autocast_dtype(x) or x.dtype
    first, second = ([p.to(dtype) for p in (layer.weight, layer.bias)] for layer in (ffn.fc1, ffn.fc2))
    return ffn_in_blocks(x.to(dtype), first[0], first[1], second[0], second[1], tokens)


def _is_plain(ffn: Any) -> bool:
    """Tell whether a stock network has the exact GELU, biases, and no dropout to apply."""
    if ffn.act.approximate != 'none' or ffn.drop.training and ffn.drop.p > 0:
        return False
    return ffn.fc1.bias is not None and ffn.fc2.bias is not None


def _is_stock_ffn(norm: nn.Module, ffn: Any) -> bool:
    if not fast_paths_enabled() or type(ffn) not in _STOCK_FFNS or not is_unhooked(ffn):
        return False
    layers = (
        (norm, nn.LayerNorm),
        (ffn.fc1, nn.Linear),
        (ffn.act, nn.GELU),
        (ffn.drop, nn.Dropout),
        (ffn.fc2, nn.Linear),
    )
    return all(is_stock(layer, kind) for layer, kind in layers)


def _is_recomputable(norm: Any, ffn: Any, x: Tensor) -> bool:
    """Tell whether norm and FFN are what :func:`ffn_recomputed` computes."""
    if is_exporting() or is_transforming() or not _is_stock_ffn(norm, ffn):
        return False
    if autocast_dtype(x) is not None or x.dtype != ffn.fc1.weight.dtype:
        return False
    return _is_plain(ffn) and norm.weight is not None and norm.bias is not None


def tokens_per_block(device: str, hidden_dims: int) -> int:
    """Number of tokens to pass through a feed-forward network at a time."""
    return max(BLOCK_ELEMENTS.get(device, BLOCK_ELEMENTS['cuda']) // hidden_dims, 1)


def ffn_recomputed(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    eps: float,
    weight1: Tensor,
    bias1: Tensor,
    weight2: Tensor,
    bias2: Tensor,
) -> Tensor:
    """``Linear2(GELU(Linear1(LayerNorm(x))))``, of which only ``x`` is kept for the backward pass.

    Both passes walk over blocks of tokens; the backward pass computes the hidden values once more.

    Args:
        x (Tensor): (B, N, C), any floating dtype; that of the parameters.
        norm_weight, norm_bias (Tensor): (C,), of the LayerNorm.
        eps (float): Of the LayerNorm.
        weight1, bias1 (Tensor): (D, C) and (D,), of the first linear layer.
        weight2, bias2 (Tensor): (C, D) and (C,), of the second.

    Returns:
        Tensor: (B, N, C). It can be differentiated once; twice raises a RuntimeError.
    """
    return _forward(x, norm_weight, norm_bias, eps, weight1, bias1, weight2, bias2)


def _blocks(x: Tensor, hidden_dims: int) -> range:
    return range(0, x.shape[0], tokens_per_block(x.device.type, hidden_dims))


@torch.library.custom_op(
    'mmrest::ffn_recomputed',
    mutates_args=(),
    schema='(Tensor x, Tensor norm_weight, Tensor norm_bias, float eps, Tensor weight1, Tensor bias1, '
    'Tensor weight2, Tensor bias2) -> Tensor',
)
def _forward(x, norm_weight, norm_bias, eps, weight1, bias1, weight2, bias2):
    tokens = x.flatten(0, -2)
    out = torch.empty_like(tokens)
    blocks = _blocks(tokens, weight1.shape[0])
    for i in blocks:
        rows = slice(i, i + blocks.step)
        normed = F.layer_norm(tokens[rows], tokens.shape[-1:], norm_weight, norm_bias, eps)
        out[rows] = fast_linear(F.gelu(fast_linear(normed, weight1, bias1)), weight2, bias2)
    return out.view(x.shape)


@_forward.register_fake
def _(x, norm_weight, norm_bias, eps, weight1, bias1, weight2, bias2):
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@torch.library.custom_op(
    'mmrest::ffn_recomputed_backward',
    mutates_args=(),
    schema='(Tensor grad, Tensor x, Tensor norm_weight, Tensor norm_bias, float eps, Tensor weight1, Tensor bias1, '
    'Tensor weight2) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)',
)
def _backward(grad, x, norm_weight, norm_bias, eps, weight1, bias1, weight2):
    """Gradients of all tensors, in the order of the arguments of the forward pass."""
    tokens, grads = x.flatten(0, -2), grad.flatten(0, -2)
    grad_x = torch.empty_like(tokens)
    # Sums over blocks are kept in float32 or better, as one matrix product over all tokens would.
    dtype = torch.promote_types(x.dtype, torch.float32)
    sums = [x.new_zeros(p.shape, dtype=dtype) for p in (norm_weight, norm_bias, weight1, bias1, weight2)]
    blocks = _blocks(tokens, weight1.shape[0])
    for i in blocks:
        rows = slice(i, i + blocks.step)
        shape = tokens.shape[-1:]
        normed, mean, rstd = torch.native_layer_norm(tokens[rows], shape, norm_weight, norm_bias, eps)
        before = fast_linear(normed, weight1, bias1)
        sums[4] += fast_weight_gradient(grads[rows], F.gelu(before))
        grad_before = torch.ops.aten.gelu_backward(fast_linear(grads[rows], weight2.t()), before)
        sums[2] += fast_weight_gradient(grad_before, normed)
        sums[3] += grad_before.sum(0, dtype=dtype)
        grad_normed = fast_linear(grad_before, weight1.t())
        grad_x[rows], grad_norm_weight, grad_norm_bias = torch.ops.aten.native_layer_norm_backward(
            grad_normed, tokens[rows], shape, mean, rstd, norm_weight, norm_bias, [True, True, True]
        )
        sums[0] += grad_norm_weight
        sums[1] += grad_norm_bias
    sums.append(grads.sum(0, dtype=dtype))
    # Never the summands themselves: outputs of an operator must be tensors of their own.
    return grad_x.view(x.shape), *(total.to(x.dtype) for total in sums)


@_backward.register_fake
def _(grad, x, norm_weight, norm_bias, eps, weight1, bias1, weight2):
    channels = norm_weight.shape
    return (
        torch.empty_like(x, memory_format=torch.contiguous_format),
        x.new_empty(channels),
        x.new_empty(channels),
        torch.empty_like(weight1),
        torch.empty_like(bias1),
        torch.empty_like(weight2),
        x.new_empty(channels),
    )


def _save(ctx, inputs, output) -> None:
    *tensors, _ = inputs
    ctx.eps = tensors.pop(3)
    ctx.save_for_backward(*tensors)


def _differentiate(ctx, grad):
    x, norm_weight, norm_bias, weight1, bias1, weight2 = ctx.saved_tensors
    first, *rest = _backward(grad.contiguous(), x, norm_weight, norm_bias, ctx.eps, weight1, bias1, weight2)
    return first, *rest[:2], None, *rest[2:]


def _refuse(ctx, *_):
    raise RuntimeError(
        'A feed-forward network that is recomputed can be differentiated only once. Where second '
        'derivatives are needed, build the backbone with ffn_recompute=False.'
    )


torch.library.register_autograd(_forward._qualname, _differentiate, setup_context=_save)
torch.library.register_autograd(_backward._qualname, _refuse)
