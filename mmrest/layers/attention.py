"""Attention modules: they own the parameters and call :mod:`mmrest.ops`."""
from __future__ import annotations

from typing import Callable

import torch
from torch import Tensor, nn

from ..ops import call_conv, call_linear, emsa, emsa_through, is_exporting, is_stock, resolve_impl
from .convolution import ConvSequential
from .tokens import to_map, to_tokens
from .window import windowed

REDUCTIONS = ('dwconv', 'avgpool', 'maxpool')
UPSAMPLE_TARGETS = ('x', 'q', 'k', 'v', 'none')
UPSAMPLE_STRATEGIES = ('pixel_shuffle', 'nearest', 'bilinear')


class HeadAttention(nn.Module):
    """Queries, keys and values of all heads to their attention: :func:`mmrest.ops.emsa` as a module.

    It has no parameters; being a module, it can be hooked, to count or to look at what goes in.

    Args:
        dropout_p (float): Dropout of the attention map in training.
        attn_impl (str): Implementation, see :func:`mmrest.ops.emsa`. The environment variable
            MMREST_ATTN_IMPL, where set, takes its place.
        head_norm (bool): InstanceNorm of maps of mixed heads.
    """

    def __init__(self, dropout_p: float = 0.0, attn_impl: str = 'auto', head_norm: bool = True) -> None:
        super().__init__()
        self.dropout_p = dropout_p
        self.attn_impl = resolve_impl(attn_impl)
        self.head_norm = head_norm

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mix: nn.Module | None = None) -> Tensor:
        """(B, k, n, d), twice (B, k, n', d), and the 1x1 convolution across heads -> (B, k, n, d).

        A convolution that is pruned, hooked, parametrized, or replaced by another module is called with whole maps.
        """
        options = dict(dropout_p=self.dropout_p if self.training else 0.0, normalize=self.head_norm)
        if mix is None:
            return emsa(q, k, v, impl=self.attn_impl, **options)
        if not _is_matrix(mix):
            return emsa_through(mix, q, k, v, **options)
        return emsa(q, k, v, mix.weight[..., 0, 0], mix.bias, impl=self.attn_impl, **options)

    def extra_repr(self) -> str:
        return f'dropout_p={self.dropout_p:g}, attn_impl={self.attn_impl!r}'


class EMSA(nn.Module):
    """Efficient multi-head self-attention of ResT (arXiv 2105.13677, equation 4).

    Keys and values are taken from a map that a depthwise convolution shrank ``sr_ratio`` times in
    both directions. With more than one head, a 1x1 convolution lets the heads interact before the
    softmax, and an InstanceNorm restores their diversity after it. That norm averages over a whole
    map, so features depend on everything in the image, on its padding in a batch as well.

    Args:
        embed_dims (int): Number of channels C.
        num_heads (int): Number of heads k; must divide C.
        sr_ratio (int): Spatial reduction of keys and values, s, an even number. 1: none.
        head_mixing (bool): Interaction of heads, and InstanceNorm; a single head never has them.
        attn_drop_rate (float): Dropout of the attention map.
        proj_drop_rate (float): Dropout of the output.
        norm_layer (Callable): Builds the norm of the reduced map from its number of channels.
        attn_impl (str): Implementation of the attention, as :class:`HeadAttention` takes it.
        head_norm (bool): False: heads that interact are not normalised after it.
        reduction (str): What shrinks the map, 'dwconv' (published), 'avgpool' or 'maxpool', all over
            windows of s + 1 tokens at a stride of s.
    """

    def __init__(self,
                 embed_dims: int,
                 num_heads: int,
                 sr_ratio: int = 1,
                 head_mixing: bool = True,
                 attn_drop_rate: float = 0.0,
                 proj_drop_rate: float = 0.0,
                 norm_layer: Callable[[int], nn.Module] = nn.LayerNorm,
                 attn_impl: str = 'auto',
                 head_norm: bool = True,
                 reduction: str = 'dwconv') -> None:
        super().__init__()
        if embed_dims % num_heads:
            raise ValueError(f'embed_dims ({embed_dims}) must be a multiple of num_heads ({num_heads}).')
        self.num_heads = num_heads
        self.attend = HeadAttention(attn_drop_rate, attn_impl, head_norm)
        self.q = nn.Linear(embed_dims, embed_dims)
        self.kv = nn.Linear(embed_dims, 2 * embed_dims)
        self.proj = nn.Linear(embed_dims, embed_dims)
        self.proj_drop = nn.Dropout(proj_drop_rate)
        self.sr = None
        if sr_ratio > 1:
            self.sr = _build_reduction(reduction, embed_dims, sr_ratio)
            self.sr_norm = norm_layer(embed_dims)
        self.transform_conv = None
        if head_mixing and num_heads > 1:
            self.transform_conv = nn.Conv2d(num_heads, num_heads, kernel_size=1)

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """(B, H * W, C) -> (B, H * W, C), with ``hw_shape=(H, W)``."""
        q = call_linear(self.q, x)
        reduced, reduced_shape = self._reduce(x, hw_shape)
        k, v = call_linear(self.kv, reduced).chunk(2, dim=-1)
        out = self.attend(self._split_heads(q), self._split_heads(k), self._split_heads(v), self.transform_conv)
        out = out.transpose(1, 2).flatten(2)
        branch = self._branch(dict(x=reduced, q=q, k=k, v=v), hw_shape, reduced_shape)
        return self.proj_drop(call_linear(self.proj, out if branch is None else out + branch))

    def _reduce(self, x: Tensor, hw_shape: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
        """What keys and values are taken from: (B, H * W, C) -> (B, H' * W', C) and (H', W')."""
        if self.sr is None:
            return x, hw_shape
        x = call_conv(self.sr, to_map(x, hw_shape))
        return self.sr_norm(to_tokens(x)), tuple(x.shape[-2:])

    def _branch(self, tokens: dict[str, Tensor], hw_shape: tuple[int, int],
                reduced_shape: tuple[int, int]) -> Tensor | None:
        """What is added to the attention's output, (B, H * W, C); nothing in ResT."""
        return None

    def _split_heads(self, x: Tensor) -> Tensor:
        """(B, n, C) -> (B, k, n, C / k)."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


class MSA(EMSA):
    """Plain multi-head self-attention: EMSA without reduction and without interaction of heads.

    Args:
        embed_dims, num_heads, attn_drop_rate, proj_drop_rate, attn_impl: As in :class:`EMSA`.
    """

    def __init__(self, embed_dims: int, num_heads: int, attn_drop_rate: float = 0.0, proj_drop_rate: float = 0.0,
                 attn_impl: str = 'auto') -> None:
        super().__init__(embed_dims, num_heads, sr_ratio=1, head_mixing=False, attn_drop_rate=attn_drop_rate,
                         proj_drop_rate=proj_drop_rate, attn_impl=attn_impl)


class EMSAv2(EMSA):
    """Attention of ResTv2 (arXiv 2204.07366): EMSA without head mixing, with an upsample branch.

    The branch rebuilds at full resolution what the reduction of keys and values lost: a depthwise
    3x3 convolution to s * s times the channels, pixel-shuffle by s, LayerNorm; it is added to the
    attention's output before the last linear layer. It is there without a reduction (s = 1) as well.
    Where H or W is not a multiple of s, the upsampled map is cropped.

    Args:
        embed_dims, num_heads, sr_ratio, attn_drop_rate, proj_drop_rate, norm_layer, attn_impl: As in
            :class:`EMSA`.
        head_mixing (bool): Interaction of heads with InstanceNorm, as in :class:`EMSA`. Off in the
            published models; the paper finds it of use with 64 channels a head or fewer.
        upsample_target (str): What the branch starts from: the values 'v' (published), the keys 'k',
            the reduced tokens 'x', the queries 'q' (at full resolution, so they are convolved but
            not enlarged), or 'none' for no branch.
        upsample_strategy (str): 'pixel_shuffle' (published), or 'nearest' or 'bilinear'
            interpolation, which have no convolution.
        window_size (int, optional): Side in tokens of windows that everything here, reduction and
            branch included, is confined to (:func:`~mmrest.layers.window.windowed`).
    """

    def __init__(self,
                 embed_dims: int,
                 num_heads: int,
                 sr_ratio: int = 1,
                 head_mixing: bool = False,
                 attn_drop_rate: float = 0.0,
                 proj_drop_rate: float = 0.0,
                 norm_layer: Callable[[int], nn.Module] = nn.LayerNorm,
                 upsample_target: str = 'v',
                 upsample_strategy: str = 'pixel_shuffle',
                 window_size: int | None = None,
                 attn_impl: str = 'auto') -> None:
        super().__init__(embed_dims, num_heads, sr_ratio, head_mixing, attn_drop_rate, proj_drop_rate, norm_layer,
                         attn_impl)
        if upsample_target not in UPSAMPLE_TARGETS:
            raise ValueError(f'Unknown upsample_target {upsample_target!r}: choose from {", ".join(UPSAMPLE_TARGETS)}.')
        if upsample_strategy not in UPSAMPLE_STRATEGIES:
            raise ValueError(f'Unknown upsample_strategy {upsample_strategy!r}: choose from '
                             f'{", ".join(UPSAMPLE_STRATEGIES)}.')
        self.window_size = window_size
        self.upsample_target = upsample_target
        self.up = None
        if upsample_target != 'none':
            scale = 1 if upsample_target == 'q' else sr_ratio
            if upsample_strategy == 'pixel_shuffle':
                conv = nn.Conv2d(embed_dims, embed_dims * scale**2, kernel_size=3, padding=1, groups=embed_dims)
                self.up = ConvSequential(conv, nn.PixelShuffle(scale))
            else:
                self.up = nn.Upsample(scale_factor=scale, mode=upsample_strategy)
            self.up_norm = norm_layer(embed_dims)

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """(B, H * W, C) -> (B, H * W, C), with ``hw_shape=(H, W)``."""
        if self.window_size is None:
            return super().forward(x, hw_shape)
        return windowed(super().forward, x, hw_shape, self.window_size)

    def _branch(self, tokens: dict[str, Tensor], hw_shape: tuple[int, int],
                reduced_shape: tuple[int, int]) -> Tensor | None:
        if self.up is None:
            return None
        shape = hw_shape if self.upsample_target == 'q' else reduced_shape
        x = self.up(to_map(tokens[self.upsample_target], shape))
        if is_exporting():  # a slice is a view, and a graph of symbolic sizes would then hold only where it cuts off
            for dim, size in ((-2, hw_shape[0]), (-1, hw_shape[1])):
                x = x.index_select(dim, torch.arange(size, device=x.device))
        else:
            x = x[..., :hw_shape[0], :hw_shape[1]]
        return self.up_norm(to_tokens(x))


def _is_matrix(mix: nn.Module) -> bool:
    """Tell whether a module is a stock 1x1 convolution, whose weights are a matrix."""
    return is_stock(mix, nn.Conv2d) and mix.kernel_size == (1, 1) and mix.groups == 1


def _build_reduction(reduction: str, embed_dims: int, sr_ratio: int) -> nn.Module:
    """What shrinks a map ``sr_ratio`` times in both directions, sizes rounded up."""
    if sr_ratio % 2:  # its windows would not reach the border, and a small map would have none
        raise ValueError(f'sr_ratio must be 1 or even, got {sr_ratio}.')
    window = dict(kernel_size=sr_ratio + 1, stride=sr_ratio, padding=sr_ratio // 2)
    if reduction == 'dwconv':
        return nn.Conv2d(embed_dims, embed_dims, groups=embed_dims, **window)
    if reduction == 'avgpool':
        return nn.AvgPool2d(count_include_pad=False, **window)
    if reduction == 'maxpool':
        return nn.MaxPool2d(**window)
    raise ValueError(f'Unknown reduction {reduction!r}: choose from {", ".join(REDUCTIONS)}.')
