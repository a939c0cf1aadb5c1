"""Position encodings that work at any image size."""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..ops import call_conv, in_inference, is_exporting, is_stock

POSITIONS = ('pa', 'gl', 'gl_dw', 'le', 'none')


class PixelAttention(nn.Module):
    """PA: every pixel is weighted by what a depthwise convolution sees around it (ResT, arXiv 2105.13677).

    ``x * sigmoid(depthwise 3x3 convolution of x)``; zero padding at the border is what tells
    positions apart.

    Args:
        embed_dims (int): Number of channels.
    """

    def __init__(self, embed_dims: int) -> None:
        super().__init__()
        self.pa_conv = nn.Conv2d(embed_dims, embed_dims, kernel_size=3, padding=1, groups=embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        # The convolution's output is not needed for anything else, unless somebody looks at it.
        if in_inference(self) and is_stock(self.pa_conv, nn.Conv2d):
            return call_conv(self.pa_conv, x).sigmoid_().mul_(x)
        return x * call_conv(self.pa_conv, x).sigmoid()


class GroupLinear(nn.Module):
    """GL, which the ResT paper compares PA with: ``x + convolution of x``.

    Args:
        embed_dims (int): Number of channels.
        depthwise (bool): False: the paper's text, a linear layer of all channels at each pixel (1x1).
            True: the authors' code, a depthwise 3x3 convolution.
    """

    def __init__(self, embed_dims: int, depthwise: bool = False) -> None:
        super().__init__()
        if depthwise:
            self.gl_conv = nn.Conv2d(embed_dims, embed_dims, kernel_size=3, padding=1, groups=embed_dims)
        else:
            self.gl_conv = nn.Conv2d(embed_dims, embed_dims, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return x + call_conv(self.gl_conv, x)


class LearnableEmbedding(nn.Module):
    """LE, which the ResT paper compares PA with: a learnt value for each position and channel is added.

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
        pos_embed = self.pos_embed
        # In an exported graph, sizes are not known: interpolating to the same size changes nothing.
        if is_exporting() or x.shape[-2:] != pos_embed.shape[-2:]:
            pos_embed = F.interpolate(pos_embed, size=x.shape[-2:], mode='bicubic', align_corners=False)
        return x + pos_embed


def build_position(position: str, embed_dims: int, grid_size: int | None = None) -> nn.Module:
    """The position encoding of that name.

    Args:
        position (str): 'pa' for :class:`PixelAttention`, 'gl' and 'gl_dw' for :class:`GroupLinear`
            (pointwise, depthwise), 'le' for :class:`LearnableEmbedding`, 'none' for nothing.
        embed_dims (int): Number of channels.
        grid_size (int, optional): Side in tokens of the map that 'le' is made for; the others need none.

    Raises:
        ValueError: There is none of that name, or 'le' lacks its size.
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
