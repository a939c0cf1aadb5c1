"""Layers and choices that only the ablations of the papers need."""

from __future__ import annotations

from typing import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..ops import call_layer, is_exporting
from .attention import EMSA, WindowEMSAv2
from .embed import Stem, norm_channels
from .position import PixelAttention
from .sequential import LayerSequence

POSITIONS = ('pa', 'gl', 'gl_dw', 'le', 'none')
REDUCTIONS = ('dwconv', 'avgpool', 'maxpool')
# For each interaction of heads: whether there is a convolution across heads, and InstanceNorm after it.
HEAD_INTERACTIONS = {'conv+in': (True, True), 'conv': (True, False), 'none': (False, False)}
UPSAMPLE_TARGETS = ('x', 'q', 'k', 'v', 'none')
UPSAMPLE_STRATEGIES = ('pixel_shuffle', 'nearest', 'bilinear')


class ResNetStem(nn.Module):
    """The stem of ResNet (arXiv 1512.03385) in ResT: 7x7/2 convolution, BN, ReLU, 3x3/2 max-pool, position encoding.

    The parameters and MACs that the ResT paper prints for its models are those with this stem.

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
    """The stem of PVT (arXiv 2102.12122) in ResT: patches of 4x4 that do not overlap, LayerNorm, position encoding.

    Images are padded with zeros at the right and lower border to whole patches.

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
        x = F.pad(x, (0, 3, 0, 3))  # enough for any size; the convolution leaves out what is no whole patch
        return self.pos(norm_channels(self.norm, call_layer(self.conv, x)))


STEMS = {'rest': Stem, 'resnet': ResNetStem, 'pvt': PVTStem}


class GroupLinear(nn.Module):
    """Group linear (GL), which the ResT paper compares PA with: ``x + convolution of x``.

    Args:
        embed_dims (int): Number of channels.
        depthwise (bool): False: as in the paper's text, a linear layer of all channels at each pixel (1x1).
            True: as in the authors' code, a depthwise 3x3 convolution.
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
    """Learnable embedding (LE), which the ResT paper compares PA with: adds a learned value at each position.

    It belongs to maps of one size; for others it is interpolated (bicubic).

    Args:
        embed_dims (int): Number of channels.
        grid_size (int): Side in tokens of the (square) map it is made for.
    """

    def __init__(self, embed_dims: int, grid_size: int) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.empty(1, embed_dims, grid_size, grid_size))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        pos_embed: Tensor = self.pos_embed
        # In an exported graph, sizes are not known: interpolating to the same size changes nothing.
        if is_exporting() or x.shape[-2:] != pos_embed.shape[-2:]:
            pos_embed = F.interpolate(pos_embed, size=x.shape[-2:], mode='bicubic', align_corners=False)
        return x + pos_embed


def build_position(position: str, embed_dims: int, grid_size: int | None = None) -> nn.Module:
    """Build a position encoding by its name.

    Args:
        position (str): 'pa' for :class:`~mmrest.layers.PixelAttention`, 'gl' and 'gl_dw' for :class:`GroupLinear`
            (pointwise, depthwise), 'le' for :class:`LearnableEmbedding`, 'none' for no encoding.
        embed_dims (int): Number of channels.
        grid_size (int, optional): Side in tokens of the map that 'le' is made for; the others need none.

    Raises:
        ValueError: The name is unknown, or 'le' lacks its size.
    """
    if position == 'pa':
        return PixelAttention(embed_dims)
    if position in ('gl', 'gl_dw'):
        return GroupLinear(embed_dims, depthwise=position == 'gl_dw')
    if position == 'le':
        if grid_size is None:
            raise ValueError("The position encoding 'le' needs the size of the map that it is made for (grid_size).")
        return LearnableEmbedding(embed_dims, grid_size)
    if position == 'none':
        return nn.Identity()
    raise ValueError(f'Unknown position encoding {position!r}: choose from {", ".join(POSITIONS)}.')


class EMSAVariant(EMSA):
    """EMSA with other ways of reducing the map and of letting heads interact.

    Args:
        embed_dims, num_heads, sr_ratio: As in :class:`~mmrest.layers.EMSA`.
        reduction (str): Reduction of keys and values, 'dwconv' (published), 'avgpool' or 'maxpool', all over windows
            of s + 1 tokens at a stride of s.
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
            window = (sr_ratio + 1, sr_ratio, sr_ratio // 2)  # size, stride, padding
            is_average = reduction == 'avgpool'
            self.sr = nn.AvgPool2d(*window, count_include_pad=False) if is_average else nn.MaxPool2d(*window)


class EMSAv2Variant(WindowEMSAv2):
    """EMSAv2 with other upsample branches.

    Args:
        embed_dims, num_heads, sr_ratio: As in :class:`~mmrest.layers.EMSA`.
        upsample_target (str): Start of the branch: the values 'v' (published), the keys 'k', the reduced tokens 'x',
            the queries 'q' (at full resolution, so they are convolved but not enlarged), or 'none' for no branch.
        upsample_strategy (str): 'pixel_shuffle' (published), or 'nearest' or 'bilinear' interpolation, which have no
            convolution.
        norm_layer (Callable): Builds a norm from a number of channels.
        kwargs: Further arguments of :class:`~mmrest.layers.WindowEMSAv2`.

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

    def add_upsampled(
        self,
        out: Tensor,
        reduced: Tensor,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        hw_shape: tuple[int, int],
        reduced_shape: tuple[int, int],
    ) -> Tensor:
        if self.upsample_target == 'none':
            return out
        target = dict(x=reduced, q=q, k=k, v=v)[self.upsample_target]
        return out + self.upsample(target, hw_shape if target is q else reduced_shape, hw_shape)


def check_choice(name: str, value: str, choices) -> None:
    """Raise a ValueError that lists the choices where a value is none of them."""
    if value not in choices:
        raise ValueError(f'Unknown {name} {value!r}: choose from {", ".join(choices)}.')
