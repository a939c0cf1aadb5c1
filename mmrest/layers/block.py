"""The transformer block: attention and feed-forward network, each in a residual branch."""
from __future__ import annotations

from typing import Callable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..ops import (
    autocast_dtype,
    call_linear,
    ffn_recomputed,
    in_inference,
    is_exporting,
    is_stock,
    is_transformed,
    is_unhooked,
    tokens_per_block,
)


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
        self.fc1 = nn.Linear(embed_dims, hidden_dims)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden_dims, embed_dims)
        self.drop = nn.Dropout(drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        if not in_inference(self) or not self.has_stock_layers():  # first: export must not compare sizes
            return self._whole(x)
        size = tokens_per_block(x.device.type, self.fc1.out_features)
        if x.shape[:-1].numel() <= size:
            return self._whole(x)
        tokens, out = x.flatten(0, -2), None
        for i in range(0, len(tokens), size):
            block = self._whole(tokens[i:i + size])
            out = block.new_empty(tokens.shape) if out is None else out  # autocast decides on the dtype
            out[i:i + size] = block
        return out.view(x.shape)

    def has_stock_layers(self) -> bool:
        """Tell whether all layers are as they were built, so that none of them need be called with whole tensors."""
        return all(is_stock(layer, kind) for layer, kind in (
            (self.fc1, nn.Linear), (self.act, nn.GELU), (self.drop, nn.Dropout), (self.fc2, nn.Linear)))

    def _whole(self, x: Tensor) -> Tensor:
        return self.drop(call_linear(self.fc2, self.drop(self.act(call_linear(self.fc1, x)))))


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
        if in_inference(self) and is_stock(self.norm2, nn.LayerNorm) and self._drops_nothing():
            return x.add_(self.mlp(self.norm2(x)))  # fresh tensor, safe in place
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def _drops_nothing(self) -> bool:
        """Tell whether stochastic depth leaves everything as it is, and nobody watches it."""
        return type(self.drop_path) is DropPath and not self.drop_path.training and is_unhooked(self.drop_path)

    def _recomputed_ffn(self, x: Tensor) -> Tensor:
        norm, mlp = self.norm2, self.mlp
        if not self._ffn_is_stock() or autocast_dtype(x) is not None or x.dtype != mlp.fc1.weight.dtype:
            return _checkpoint(lambda x: self.mlp(self.norm2(x)), x)
        return ffn_recomputed(x, norm.weight, norm.bias, norm.eps, mlp.fc1.weight, mlp.fc1.bias, mlp.fc2.weight,
                              mlp.fc2.bias)

    def _ffn_is_stock(self) -> bool:
        """Tell whether norm and FFN are the formula that :func:`mmrest.ops.ffn_recomputed` knows."""
        norm, mlp = self.norm2, self.mlp
        if type(mlp) is not FFN or not is_unhooked(mlp) or not mlp.has_stock_layers():
            return False
        if not is_stock(norm, nn.LayerNorm) or mlp.act.approximate != 'none' or mlp.drop.training and mlp.drop.p > 0:
            return False
        return all(p is not None for layer in (norm, mlp.fc1, mlp.fc2) for p in (layer.weight, layer.bias))


def _checkpoint(function: Callable[..., Tensor], *args) -> Tensor:
    return checkpoint(function, *args, use_reentrant=False)
