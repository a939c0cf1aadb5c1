"""Transformer block: attention and feed-forward network in residual branches."""

from __future__ import annotations

from typing import Callable

from torch import Tensor, nn

from ..ops import call_layer, norm_ffn, stock_ffn


class DropPath(nn.Module):
    """Stochastic depth per sample, applied to a residual branch (arXiv 1603.09382).

    Args:
        drop_prob (float): Probability in [0, 1) of dropping a sample's branch in training. Kept branches are scaled
            by 1 / (1 - drop_prob).

    Raises:
        ValueError: ``drop_prob`` is out of range.
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
        mask = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(keep)
        return x * (mask / keep)

    def extra_repr(self) -> str:
        return f'drop_prob={self.drop_prob:.3g}'


@stock_ffn  # allows the fast paths of norm_ffn()
class FFN(nn.Module):
    """Feed-forward network: linear, GELU, linear.

    Args:
        embed_dims (int): Number of input and output channels.
        hidden_dims (int): Number of hidden channels.
        drop_rate (float): Dropout rate after each linear layer.
    """

    def __init__(self, embed_dims: int, hidden_dims: int, drop_rate: float = 0.0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(embed_dims, hidden_dims)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden_dims, embed_dims)
        self.drop = nn.Dropout(drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        x = self.drop(self.act(call_layer(self.fc1, x)))
        return self.drop(call_layer(self.fc2, x))


class TransformerBlock(nn.Module):
    """Pre-norm block: ``x + DropPath(attn(LN(x)))``, then ``x + DropPath(FFN(LN(x)))``.

    Args:
        embed_dims (int): Number of channels.
        attn (nn.Module): Attention, called with tokens (B, N, C) and ``hw_shape``.
        mlp_ratio (float): Ratio of hidden to input channels of the FFN.
        drop_rate (float): Dropout rate of the FFN.
        drop_path_rate (float): Stochastic depth rate of both branches.
        norm_layer (Callable): Builds a norm from the number of channels.
        ffn_recompute (bool): Recompute the FFN and its norm in the backward pass, in chunks of tokens.
    """

    def __init__(
        self,
        embed_dims: int,
        attn: nn.Module,
        mlp_ratio: float = 4.0,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        norm_layer: Callable[[int], nn.Module] = nn.LayerNorm,
        ffn_recompute: bool = False,
    ) -> None:
        super().__init__()
        self.norm1 = norm_layer(embed_dims)
        self.attn = attn
        self.drop_path = DropPath(drop_path_rate)
        self.norm2 = norm_layer(embed_dims)
        self.mlp = FFN(embed_dims, int(embed_dims * mlp_ratio), drop_rate)
        self.ffn_recompute = ffn_recompute

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """(B, H * W, C) -> (B, H * W, C), with ``hw_shape=(H, W)``."""
        x = x + self.drop_path(self.attn(self.norm1(x), hw_shape))
        # mlp(norm2(x)), in chunks of tokens to save memory
        return x + self.drop_path(norm_ffn(self.norm2, self.mlp, x, self.ffn_recompute))
