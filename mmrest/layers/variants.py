"""Layers that only the ablations of the papers use."""

from __future__ import annotations

from typing import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..ops import call_layer, is_exporting
from .attention import EMSA, EMSAv2, WindowEMSAv2, merge_heads
from .embed import Stem, norm_channels
from .position import PixelAttention
from .sequential import LayerSequence

POSITIONS = ('pa', 'gl', 'gl_dw', 'le', 'none')
REDUCTIONS = ('dwconv', 'avgpool', 'maxpool')
HEAD_INTERACTIONS = {'conv+in': (True, True), 'conv': (True, False), 'none': (False, False)}  # 1x1 conv, InstanceNorm
UPSAMPLE_TARGETS = ('x', 'q', 'k', 'v', 'none')
UPSAMPLE_STRATEGIES = ('pixel_shuffle', 'nearest', 'bilinear')


class ResNetStem(nn.Module):
    """ResNet stem (arXiv 1512.03385) for ResT: 7x7/2 convolution, BN, ReLU, 3x3/2 max-pool, position encoding.

    The parameters and MACs that the ResT paper reports for its models are those with this stem.

    Args:
        in_channels, embed_dims: As in :class:`~mmrest.layers.Stem`.
    """

    def __init__(self, in_channels: int, embed_dims: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, embed_dims, kernel_size=7, stride=2, padding=3, bias=False)
        self.norm = nn.BatchNorm2d(embed_dims)
        self.act = nn.ReLU()
        self.max_pool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.pos = PixelAttention(embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, embed_dims, ceil(H / 4), ceil(W / 4))."""
        x = self.act(call_layer(self.norm, call_layer(self.conv, x)))
        return self.pos(self.max_pool(x))


class PVTStem(nn.Module):
    """PVT stem (arXiv 2102.12122) for ResT: non-overlapping 4x4 patches, LayerNorm, position encoding.

    Images are zero-padded at the right and bottom to a multiple of the patch size.

    Args:
        in_channels, embed_dims: As in :class:`~mmrest.layers.Stem`.
    """

    def __init__(self, in_channels: int, embed_dims: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, embed_dims, kernel_size=4, stride=4)
        self.norm = nn.LayerNorm(embed_dims)
        self.pos = PixelAttention(embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, embed_dims, ceil(H / 4), ceil(W / 4))."""
        x = F.pad(x, (0, 3, 0, 3))  # enough for any size; the convolution drops incomplete patches
        return self.pos(norm_channels(self.norm, call_layer(self.conv, x)))


STEMS = {'rest': Stem, 'resnet': ResNetStem, 'pvt': PVTStem}


class GroupLinear(nn.Module):
    """Group linear (GL) position encoding of the ResT paper: ``x + convolution of x``.

    Args:
        embed_dims (int): Number of channels.
        depthwise (bool): Use a depthwise 3x3 convolution, as in the authors' code. Default: False, a pointwise (1x1)
            convolution, as in the text of the paper.
    """

    def __init__(self, embed_dims: int, depthwise: bool = False) -> None:
        super().__init__()
        if depthwise:
            self.gl_conv = nn.Conv2d(embed_dims, embed_dims, kernel_size=3, padding=1, groups=embed_dims)
        else:
            self.gl_conv = nn.Conv2d(embed_dims, embed_dims, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return x + call_layer(self.gl_conv, x)


class LearnableEmbedding(nn.Module):
    """Learnable absolute position embedding (LE) of the ResT paper.

    The embedding has a fixed size and is interpolated (bicubic) to maps of other sizes.

    Args:
        embed_dims (int): Number of channels.
        grid_size (int): Side of the (square) embedding in tokens.
    """

    def __init__(self, embed_dims: int, grid_size: int) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.empty(1, embed_dims, grid_size, grid_size))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        pos_embed: Tensor = self.pos_embed
        # Sizes are unknown in an exported graph; interpolating to the same size is the identity.
        if is_exporting() or x.shape[-2:] != pos_embed.shape[-2:]:
            pos_embed = F.interpolate(pos_embed, size=x.shape[-2:], mode='bicubic', align_corners=False)
        return x + pos_embed


def build_position(position: str, embed_dims: int, grid_size: int | None = None) -> nn.Module:
    """Build a position encoding by name.

    Args:
        position (str): 'pa' for :class:`~mmrest.layers.PixelAttention`, 'gl' and 'gl_dw' for :class:`GroupLinear`
            (pointwise, depthwise), 'le' for :class:`LearnableEmbedding`, 'none' for no encoding.
        embed_dims (int): Number of channels.
        grid_size (int, optional): Side of the embedding in tokens; required by 'le' only.

    Raises:
        ValueError: The name is unknown, or ``grid_size`` is missing for 'le'.
    """
    if position == 'pa':
        return PixelAttention(embed_dims)
    if position in ('gl', 'gl_dw'):
        return GroupLinear(embed_dims, depthwise=position == 'gl_dw')
    if position == 'le':
        if grid_size is None:
            raise ValueError("The position encoding 'le' needs a grid_size, the side of its embedding in tokens.")
        return LearnableEmbedding(embed_dims, grid_size)
    if position == 'none':
        return nn.Identity()
    raise ValueError(f'Unknown position encoding {position!r}: choose from {", ".join(POSITIONS)}.')


class EMSAVariant(EMSA):
    """EMSA with other spatial reductions and head interactions.

    Args:
        embed_dims, num_heads, sr_ratio: As in :class:`~mmrest.layers.EMSA`.
        reduction (str): Spatial reduction of keys and values, 'dwconv' (published), 'avgpool' or 'maxpool', all with
            kernel ``sr_ratio + 1`` and stride ``sr_ratio``.
        head_interaction (str): 'conv+in' (published), 'conv' without InstanceNorm, or 'none'.
        kwargs: Further arguments of :class:`~mmrest.layers.EMSA`.

    Raises:
        ValueError: A choice is unknown.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        sr_ratio: int = 1,
        reduction: str = 'dwconv',
        head_interaction: str = 'conv+in',
        **kwargs,
    ) -> None:
        check_choice('reduction', reduction, REDUCTIONS)
        check_choice('head_interaction', head_interaction, HEAD_INTERACTIONS)
        head_mixing, head_norm = HEAD_INTERACTIONS[head_interaction]
        super().__init__(embed_dims, num_heads, sr_ratio, head_mixing, **kwargs)
        self.attend.head_norm = head_norm
        if sr_ratio > 1 and reduction != 'dwconv':
            kernel = (sr_ratio + 1, sr_ratio, sr_ratio // 2)  # size, stride, padding
            is_average = reduction == 'avgpool'
            self.sr = nn.AvgPool2d(*kernel, count_include_pad=False) if is_average else nn.MaxPool2d(*kernel)


class UpsampleVariant(EMSAv2):
    """EMSAv2 with other upsample branches.

    Args:
        embed_dims, num_heads, sr_ratio: As in :class:`~mmrest.layers.EMSA`.
        upsample_target (str): Input of the branch: the values 'v' (published), the keys 'k', the reduced tokens 'x',
            the queries 'q' (already at full resolution, so not upsampled), or 'none' for no branch.
        upsample_strategy (str): 'pixel_shuffle' (published), or 'nearest' or 'bilinear' interpolation without a
            convolution.
        norm_layer (Callable): Builds a norm from the number of channels.
        kwargs: Further arguments of :class:`~mmrest.layers.EMSAv2`.

    Raises:
        ValueError: A choice is unknown.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        sr_ratio: int = 1,
        upsample_target: str = 'v',
        upsample_strategy: str = 'pixel_shuffle',
        norm_layer: Callable[[int], nn.Module] = nn.LayerNorm,
        **kwargs,
    ) -> None:
        check_choice('upsample_target', upsample_target, UPSAMPLE_TARGETS)
        check_choice('upsample_strategy', upsample_strategy, UPSAMPLE_STRATEGIES)
        super().__init__(embed_dims, num_heads, sr_ratio, norm_layer=norm_layer, **kwargs)
        self.upsample_target = upsample_target
        scale = 1 if upsample_target == 'q' else sr_ratio
        if upsample_target == 'none':
            del self.up, self.up_norm
        elif upsample_strategy != 'pixel_shuffle':
            self.up = nn.Upsample(scale_factor=scale, mode=upsample_strategy)
        elif scale != sr_ratio:
            conv = nn.Conv2d(embed_dims, embed_dims, kernel_size=3, padding=1, groups=embed_dims)
            self.up = LayerSequence(conv, nn.PixelShuffle(1))

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """(B, H * W, C) -> (B, H * W, C), with ``hw_shape=(H, W)``."""
        q = call_layer(self.q, x)
        reduced, reduced_shape = self.reduce(x, hw_shape)
        k, v = call_layer(self.kv, reduced).chunk(2, dim=-1)
        out = merge_heads(
            self.attend(self.split_heads(q), self.split_heads(k), self.split_heads(v), self.transform_conv)
        )
        if self.upsample_target == 'q':
            out = out + self.upsample(q, hw_shape, hw_shape)
        elif self.upsample_target != 'none':
            target = dict(x=reduced, k=k, v=v)[self.upsample_target]
            out = out + self.upsample(target, reduced_shape, hw_shape)
        return self.proj_drop(call_layer(self.proj, out))


class EMSAv2Variant(WindowEMSAv2, UpsampleVariant):
    """:class:`UpsampleVariant` inside windows; arguments are those of both base classes."""


def check_choice(name: str, value: str, choices) -> None:
    """Raise a ValueError that lists the choices if ``value`` is not one of them."""
    if value not in choices:
        raise ValueError(f'Unknown {name} {value!r}: choose from {", ".join(choices)}.')
