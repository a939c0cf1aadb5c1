"""The transformer block: attention and feed-forward network, each in a residual branch."""
from __future__ import annotations

from typing import Callable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..ops import autocast_dtype, ffn_recomputed, is_exporting, is_transformed, tokens_per_block
from .inference import in_inference, is_hooked
from .linear import TokenLinear


class DropPath(nn.Module):
    """Stochastic depth: drops a residual branch for whole samples (arXiv 1603.09382).

    Args:
        drop_prob (float): Probability in [0, 1) of dropping the branch of a sample in training;
            kept ones are scaled by 1 / (1 - drop_prob).
    """

    def __init__(self, drop_prob: float = 0.0) -> None:
        super().__init__()
        if not 0 <= drop_prob < 1:
            raise ValueError(f'drop_prob must be in [0, 1), got {drop_prob}.')
        self.drop_prob = drop_prob

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) -> (B, ...)."""
        if not self.training or self.drop_prob == 0:
            return x
        keep = 1 - self.drop_prob
        mask = x.new_empty((x.shape[0], ) + (1, ) * (x.ndim - 1)).bernoulli_(keep)
        return x * (mask / keep)

    def extra_repr(self) -> str:
        return f'drop_prob={self.drop_prob:.3g}'


class FFN(nn.Module):
    """Feed-forward network of two linear layers with a GELU between them.

    Inference goes by blocks of tokens, so that the hidden values stay in cache.

    Args:
        embed_dims (int): Channels in and out.
        hidden_dims (int): Channels between the layers.
        drop_rate (float): Dropout after each layer.
    """

    def __init__(self, embed_dims: int, hidden_dims: int, drop_rate: float = 0.0) -> None:
        super().__init__()
        self.fc1 = TokenLinear(embed_dims, hidden_dims)
        self.act = nn.GELU()
        self.fc2 = TokenLinear(hidden_dims, embed_dims)
        self.drop = nn.Dropout(drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        size = tokens_per_block(x.device.type, self.fc1.out_features)
        whole = not in_inference(self) or is_hooked(self.fc1, self.act, self.drop, self.fc2)
        if whole or x.shape[:-1].numel() <= size:  # in this order: export must not compare sizes
            return self._whole(x)
        tokens, out = x.flatten(0, -2), None
        for i in range(0, len(tokens), size):
            block = self._whole(tokens[i:i + size])
            out = block.new_empty(tokens.shape) if out is None else out  # autocast decides on the dtype
            out[i:i + size] = block
        return out.view(x.shape)

    def _whole(self, x: Tensor) -> Tensor:
        return self.drop(self.fc2(self.drop(self.act(self.fc1(x)))))


class TransformerBlock(nn.Module):
    """Pre-norm block: ``x + DropPath(attn(LN(x)))``, then ``x + DropPath(FFN(LN(x)))``.

    Args:
        embed_dims (int): Number of channels.
        attn (nn.Module): Attention, called with tokens (B, N, C) and ``hw_shape``.
        mlp_ratio (float): Hidden channels of the FFN in multiples of ``embed_dims``.
        drop_rate (float): Dropout in the FFN.
        drop_path_rate (float): Stochastic depth of both branches.
        norm_layer (Callable): Builds a norm from a number of channels.
        with_cp (bool): Recompute the block in the backward pass instead of storing its activations.
        ffn_recompute (bool): Recompute the FFN and its norm alone, block by block of tokens.
    """

    def __init__(self,
                 embed_dims: int,
                 attn: nn.Module,
                 mlp_ratio: float = 4.0,
                 drop_rate: float = 0.0,
                 drop_path_rate: float = 0.0,
                 norm_layer: Callable[[int], nn.Module] = nn.LayerNorm,
                 with_cp: bool = False,
                 ffn_recompute: bool = False) -> None:
        super().__init__()
        self.norm1 = norm_layer(embed_dims)
        self.attn = attn
        self.drop_path = DropPath(drop_path_rate)
        self.norm2 = norm_layer(embed_dims)
        self.mlp = FFN(embed_dims, int(embed_dims * mlp_ratio), drop_rate)
        self.with_cp = with_cp
        self.ffn_recompute = ffn_recompute

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """(B, H * W, C) -> (B, H * W, C), with ``hw_shape=(H, W)``."""
        # Neither graphs for elsewhere nor transforms of torch.func know recomputation.
        saving = torch.is_grad_enabled() and not is_exporting() and not is_transformed()
        if saving and self.ffn_recompute:
            x = _checkpoint(self._attend, x, hw_shape) if self.with_cp else self._attend(x, hw_shape)
            return x + self.drop_path(self._recomputed_ffn(x))
        if saving and self.with_cp:
            return _checkpoint(self._plain, x, hw_shape)
        return self._plain(x, hw_shape)

    def _attend(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        return x + self.drop_path(self.attn(self.norm1(x), hw_shape))

    def _plain(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        x = self._attend(x, hw_shape)
        if in_inference(self) and not is_hooked(self.norm2):  # the sum is new and nobody else's
            return x.add_(self.mlp(self.norm2(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def _recomputed_ffn(self, x: Tensor) -> Tensor:
        norm, fc1, fc2 = self.norm2, self.mlp.fc1, self.mlp.fc2
        drops = self.training and self.mlp.drop.p > 0
        stock = type(norm) is nn.LayerNorm and type(fc1) is type(fc2) is TokenLinear
        stock = stock and not is_hooked(norm, self.mlp, fc1, self.mlp.act, fc2, self.mlp.drop)
        if drops or not stock or autocast_dtype(x) is not None or x.dtype != fc1.weight.dtype:
            return _checkpoint(lambda x: self.mlp(self.norm2(x)), x)
        return ffn_recomputed(x, norm.weight, norm.bias, norm.eps, fc1.weight, fc1.bias, fc2.weight, fc2.bias)


def _checkpoint(function: Callable[..., Tensor], *args) -> Tensor:
    return checkpoint(function, *args, use_reentrant=False)
