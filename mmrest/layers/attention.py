"""Attention modules: they own the parameters and call :mod:`mmrest.ops`."""
from __future__ import annotations

from typing import Callable

from torch import Tensor, nn

from ..ops import emsa


class EMSA(nn.Module):
    """Efficient multi-head self-attention of ResT (arXiv 2105.13677, equation 4).

    Keys and values are taken from a map that a depthwise convolution shrank ``sr_ratio`` times in
    both directions. With more than one head, a 1x1 convolution lets the heads interact before the
    softmax, and an InstanceNorm restores their diversity after it. That norm averages over a whole
    map, so features depend on everything in the image, on its padding in a batch as well.

    Args:
        embed_dims (int): Number of channels C.
        num_heads (int): Number of heads k; must divide C.
        sr_ratio (int): Spatial reduction of keys and values, s. 1: none.
        attn_drop_rate (float): Dropout of the attention map.
        proj_drop_rate (float): Dropout of the output.
        norm_layer (Callable): Builds the norm of the reduced map from its number of channels.
    """

    def __init__(self,
                 embed_dims: int,
                 num_heads: int,
                 sr_ratio: int = 1,
                 attn_drop_rate: float = 0.0,
                 proj_drop_rate: float = 0.0,
                 norm_layer: Callable[[int], nn.Module] = nn.LayerNorm) -> None:
        super().__init__()
        if embed_dims % num_heads:
            raise ValueError(f'embed_dims ({embed_dims}) must be a multiple of num_heads ({num_heads}).')
        self.num_heads = num_heads
        self.attn_drop_rate = attn_drop_rate
        self.q = nn.Linear(embed_dims, embed_dims)
        self.kv = nn.Linear(embed_dims, 2 * embed_dims)
        self.proj = nn.Linear(embed_dims, embed_dims)
        self.proj_drop = nn.Dropout(proj_drop_rate)
        self.sr = None
        if sr_ratio > 1:
            self.sr = nn.Conv2d(
                embed_dims, embed_dims, kernel_size=sr_ratio + 1, stride=sr_ratio, padding=sr_ratio // 2,
                groups=embed_dims)
            self.sr_norm = norm_layer(embed_dims)
        self.transform_conv = nn.Conv2d(num_heads, num_heads, kernel_size=1) if num_heads > 1 else None

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """(B, H * W, C) -> (B, H * W, C), with ``hw_shape=(H, W)``."""
        q = self._split_heads(self.q(x))
        k, v = map(self._split_heads, self.kv(self._reduce(x, hw_shape)).chunk(2, dim=-1))
        mix = self.transform_conv
        out = emsa(
            q, k, v,
            mix_weight=None if mix is None else mix.weight[..., 0, 0],
            mix_bias=None if mix is None else mix.bias,
            dropout_p=self.attn_drop_rate if self.training else 0.0)
        return self.proj_drop(self.proj(out.transpose(1, 2).flatten(2)))

    def _reduce(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Tokens that keys and values are taken from: (B, H * W, C) -> (B, ceil(H / s) * ceil(W / s), C)."""
        if self.sr is None:
            return x
        x = self.sr(x.transpose(1, 2).unflatten(2, hw_shape))
        return self.sr_norm(x.flatten(2).transpose(1, 2))

    def _split_heads(self, x: Tensor) -> Tensor:
        """(B, n, C) -> (B, k, n, C / k)."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
