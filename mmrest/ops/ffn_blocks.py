"""Feed-forward network for training on a CPU: everything after the first layer in blocks of tokens, in its cache."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .linear import fast_linear, fast_weight_gradient


def ffn_in_blocks(x: Tensor, weight1: Tensor, bias1: Tensor, weight2: Tensor, bias2: Tensor, block: int) -> Tensor:
    """Compute ``Linear2(GELU(Linear1(x)))``, keeping ``x`` and the input of GELU for the backward pass.

    Autograd would keep the output of GELU too, as large again, and walk through memory once for each operation.

    Args:
        x (Tensor): (B, N, C), in the dtype of the parameters.
        weight1, bias1 (Tensor): (D, C) and (D,).
        weight2, bias2 (Tensor): (C', D) and (C',).
        block (int): Tokens at a time.

    Returns:
        Tensor: (B, N, C').
    """
    return _FFNInBlocks.apply(x, weight1, bias1, weight2, bias2, block)


class _FFNInBlocks(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight1, bias1, weight2, bias2, block):
        tokens = x.flatten(0, -2)
        with torch.autocast(x.device.type, enabled=False):
            before = fast_linear(tokens, weight1, bias1)
            out = x.new_empty(len(tokens), len(weight2))
            for rows in _blocks(len(tokens), block):
                out[rows] = fast_linear(F.gelu(before[rows]), weight2, bias2)
        ctx.save_for_backward(x, weight1, bias1, weight2, bias2, before)
        ctx.block = block
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx, grad):
        *inputs, before = ctx.saved_tensors
        x, weight1, bias1, weight2, bias2 = inputs
        with torch.autocast(grad.device.type, enabled=False):
            if torch.is_grad_enabled():  # for a second derivative
                needed = [t for t, need in zip(inputs, ctx.needs_input_grad) if need]
                out = F.linear(F.gelu(F.linear(x, weight1, bias1)), weight2, bias2)
                found = iter(torch.autograd.grad(out, needed, grad, create_graph=True))
                return *(next(found) if need else None for need in ctx.needs_input_grad[:5]), None
            tokens, grads = x.flatten(0, -2), grad.contiguous().flatten(0, -2)
            grad_x = torch.empty_like(tokens)
            # Sums over blocks are kept in float32 or better, as one matrix product over all tokens would.
            dtype = torch.promote_types(x.dtype, torch.float32)
            sums = [torch.zeros_like(p, dtype=dtype) for p in (weight1, bias1, weight2)]
            back1, back2 = weight1.t().contiguous(), weight2.t().contiguous()
            for rows in _blocks(len(tokens), ctx.block):
                sums[2] += fast_weight_gradient(grads[rows], F.gelu(before[rows]))
                grad_before = torch.ops.aten.gelu_backward(fast_linear(grads[rows], back2), before[rows])
                sums[0] += fast_weight_gradient(grad_before, tokens[rows])
                sums[1] += grad_before.sum(0, dtype=dtype)
                grad_x[rows] = fast_linear(grad_before, back1)
            sums.append(grads.sum(0, dtype=dtype))
        return grad_x.view(x.shape), *(total.to(x.dtype) for total in sums), None


def _blocks(n: int, block: int) -> list[slice]:
    return [slice(i, i + block) for i in range(0, n, block)]
