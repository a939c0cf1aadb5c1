"""Attention modules of ResT and ResTv2.

The attention itself is computed by :func:`mmrest.ops.emsa`. ``call_layer(layer, x)`` returns ``layer(x)``. For stock
layers of torch it does so in a faster way on a CPU, and avoids faults of torch (:mod:`mmrest.ops.workarounds`).
"""

from __future__ import annotations

from typing import Callable

from torch import Tensor, nn

from ..ops import call_layer, crop_map, emsa, emsa_through, is_stock, resolve_impl
from .sequential import LayerSequence
from .tokens import to_map, to_tokens
from .window import attend_in_windows


class HeadAttention(nn.Module):
    """Attention of all heads from queries, keys and values: :func:`mmrest.ops.emsa` as a module.

    It has no parameters. As a module, it accepts hooks, e.g. to count operations or to read attention inputs.

    Args:
        dropout_p (float): Dropout rate of the attention map in training.
        attn_impl (str, optional): Implementation of the attention, see :func:`mmrest.ops.resolve_impl`.
        head_norm (bool): Apply InstanceNorm to the attention maps after head mixing.
    """

    def __init__(self, dropout_p: float = 0.0, attn_impl: str | None = None, head_norm: bool = True) -> None:
        super().__init__()
        self.dropout_p = dropout_p
        self.attn_impl = resolve_impl(attn_impl)
        self.head_norm = head_norm

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mix: nn.Module | None = None) -> Tensor:
        """Compute the attention of every head.

        Args:
            q (Tensor): Queries (B, num_heads, N, d).
            k, v (Tensor): Keys and values (B, num_heads, N', d).
            mix (nn.Module, optional): Interaction of heads. The weights of a stock 1x1 convolution go into
                :func:`mmrest.ops.emsa`; any other module, e.g. one with hooks, is called on the full attention map.

        Returns:
            Tensor: (B, num_heads, N, d).
        """
        dropout_p = self.dropout_p if self.training else 0.0
        if mix is None:
            return emsa(q, k, v, dropout_p=dropout_p, impl=self.attn_impl)
        if is_stock(mix, nn.Conv2d) and mix.kernel_size == (1, 1) and mix.groups == 1:
            weight, bias = mix.weight[..., 0, 0], mix.bias
            return emsa(q, k, v, weight, bias, dropout_p=dropout_p, impl=self.attn_impl, normalize=self.head_norm)
        return emsa_through(mix, q, k, v, dropout_p=dropout_p, normalize=self.head_norm)

    def extra_repr(self) -> str:
        return f'dropout_p={self.dropout_p:g}, attn_impl={self.attn_impl!r}'


class EMSA(nn.Module):
    """Efficient multi-head self-attention of ResT (arXiv 2105.13677, equation 4).

    Keys and values come from a map that a depthwise convolution downsamples by ``sr_ratio``. With more than one head,
    a 1x1 convolution mixes the heads before the softmax, and InstanceNorm restores their diversity after it.
    InstanceNorm averages over the whole attention map, so features depend on the entire image, including the padding
    it gets in a batch.

    Args:
        embed_dims (int): Number of channels C.
        num_heads (int): Number of heads; must divide C.
        sr_ratio (int): Spatial reduction ratio of keys and values: 1 for none, else an even number.
        head_mixing (bool): Mix the heads, followed by InstanceNorm. Has no effect with a single head.
        attn_drop_rate (float): Dropout rate of the attention map.
        proj_drop_rate (float): Dropout rate of the output.
        norm_layer (Callable): Builds the norm of the reduced map from the number of channels.
        attn_impl (str, optional): Implementation of the attention, see :func:`mmrest.ops.resolve_impl`.

    Raises:
        ValueError: ``num_heads`` does not divide ``embed_dims``, or ``sr_ratio`` is odd.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        sr_ratio: int = 1,
        head_mixing: bool = True,
        attn_drop_rate: float = 0.0,
        proj_drop_rate: float = 0.0,
        norm_layer: Callable[[int], nn.Module] = nn.LayerNorm,
        attn_impl: str | None = None,
    ) -> None:
        super().__init__()
        if embed_dims % num_heads:
            raise ValueError(f'embed_dims ({embed_dims}) must be a multiple of num_heads ({num_heads}).')
        # A map one token wide, padded by sr_ratio // 2, would be narrower than the kernel and give no keys.
        if sr_ratio > 1 and sr_ratio % 2:
            raise ValueError(f'sr_ratio must be 1 or even, got {sr_ratio}.')
        self.num_heads = num_heads
        self.attend = HeadAttention(attn_drop_rate, attn_impl)
        self.q = nn.Linear(embed_dims, embed_dims)
        self.kv = nn.Linear(embed_dims, 2 * embed_dims)
        self.proj = nn.Linear(embed_dims, embed_dims)
        self.proj_drop = nn.Dropout(proj_drop_rate)
        self.sr: nn.Module | None = None
        if sr_ratio > 1:
            self.sr = nn.Conv2d(
                embed_dims,
                embed_dims,
                kernel_size=sr_ratio + 1,
                stride=sr_ratio,
                padding=sr_ratio // 2,
                groups=embed_dims,
            )
            self.sr_norm = norm_layer(embed_dims)
        self.transform_conv = None
        if head_mixing and num_heads > 1:
            self.transform_conv = nn.Conv2d(num_heads, num_heads, kernel_size=1)

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """(B, H * W, C) -> (B, H * W, C), with ``hw_shape=(H, W)``."""
        q = call_layer(self.q, x)
        reduced, _ = self.reduce(x, hw_shape)
        k, v = call_layer(self.kv, reduced).chunk(2, dim=-1)
        out = self.attend(self.split_heads(q), self.split_heads(k), self.split_heads(v), self.transform_conv)
        return self.proj_drop(call_layer(self.proj, merge_heads(out)))

    def reduce(self, x: Tensor, hw_shape: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
        """Downsample the map for keys and values: (B, H * W, C) -> (B, H' * W', C), and (H', W')."""
        if self.sr is None:
            return x, hw_shape
        x = call_layer(self.sr, to_map(x, hw_shape))
        return self.sr_norm(to_tokens(x)), (x.shape[-2], x.shape[-1])

    def split_heads(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, num_heads, N, C / num_heads)."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """(B, num_heads, N, d) -> (B, N, num_heads * d)."""
    return x.transpose(1, 2).flatten(2)


class EMSAv2(EMSA):
    """Attention of ResTv2 (arXiv 2204.07366): EMSA without head mixing, with an upsample branch.

    The branch recovers the resolution lost by the reduction: depthwise 3x3 convolution of the values to
    ``sr_ratio ** 2`` times the channels, pixel shuffle, LayerNorm. Its result is added to the attention output before
    the last linear layer. The branch exists even with ``sr_ratio=1``, as in the published models. If H or W is not a
    multiple of ``sr_ratio``, the upsampled map is cropped.

    Args:
        embed_dims, num_heads, sr_ratio: As in :class:`EMSA`.
        head_mixing (bool): Mix the heads as in :class:`EMSA`. Default: False, as in the published models.
        attn_drop_rate, proj_drop_rate, norm_layer, attn_impl: As in :class:`EMSA`.
    """

    window_size: int | None = None

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        sr_ratio: int = 1,
        head_mixing: bool = False,
        attn_drop_rate: float = 0.0,
        proj_drop_rate: float = 0.0,
        norm_layer: Callable[[int], nn.Module] = nn.LayerNorm,
        attn_impl: str | None = None,
    ) -> None:
        super().__init__(
            embed_dims,
            num_heads,
            sr_ratio,
            head_mixing=head_mixing,
            attn_drop_rate=attn_drop_rate,
            proj_drop_rate=proj_drop_rate,
            norm_layer=norm_layer,
            attn_impl=attn_impl,
        )
        self.up: nn.Module = LayerSequence(
            nn.Conv2d(embed_dims, embed_dims * sr_ratio**2, kernel_size=3, padding=1, groups=embed_dims),
            nn.PixelShuffle(sr_ratio),
        )
        self.up_norm = norm_layer(embed_dims)

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """(B, H * W, C) -> (B, H * W, C), with ``hw_shape=(H, W)``."""
        q = call_layer(self.q, x)
        reduced, reduced_shape = self.reduce(x, hw_shape)
        k, v = call_layer(self.kv, reduced).chunk(2, dim=-1)
        out = self.attend(self.split_heads(q), self.split_heads(k), self.split_heads(v), self.transform_conv)
        out = merge_heads(out) + self.upsample(v, reduced_shape, hw_shape)
        return self.proj_drop(call_layer(self.proj, out))

    def upsample(self, x: Tensor, from_shape: tuple[int, int], hw_shape: tuple[int, int]) -> Tensor:
        """(B, H' * W', C), with ``from_shape=(H', W')`` -> (B, H * W, C), with ``hw_shape=(H, W)``."""
        x = self.up(to_map(x, from_shape))
        return self.up_norm(to_tokens(crop_map(x, hw_shape)))


class WindowEMSAv2(EMSAv2):
    """EMSAv2 inside windows, including its reduction and upsample branch (:func:`~mmrest.layers.attend_in_windows`).

    Args:
        embed_dims, num_heads, sr_ratio: As in :class:`EMSA`.
        window_size (int, optional): Side of a window in tokens. Default: None, one window for the whole map.
        kwargs: Further arguments of :class:`EMSAv2`.
    """

    def __init__(
        self, embed_dims: int, num_heads: int, sr_ratio: int = 1, window_size: int | None = None, **kwargs
    ) -> None:
        super().__init__(embed_dims, num_heads, sr_ratio, **kwargs)
        self.window_size = window_size

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """(B, H * W, C) -> (B, H * W, C), with ``hw_shape=(H, W)``."""
        if self.window_size is None:
            return super().forward(x, hw_shape)
        return attend_in_windows(super().forward, x, hw_shape, self.window_size)
