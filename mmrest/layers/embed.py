"""Stems and patch embeddings: from an image, or a stage's map, to the next stage's map."""

from __future__ import annotations

from typing import Callable

from torch import Tensor, nn

from ..ops import call_layer
from .position import PixelAttention
from .sequential import LayerSequence


class Stem(nn.Module):
    """The three-convolution stem of ResT: an image to a map of a quarter of its size.

    3x3/2 convolution to half the channels, BN, ReLU, 3x3/1 convolution, BN, ReLU, 3x3/2 convolution to all channels,
    position encoding (arXiv 2105.13677; as in the released weights, the convolutions have no bias and the third has
    no norm).

    Args:
        in_channels (int): Channels of the image.
        embed_dims (int): Channels of the first stage.
    """

    def __init__(self, in_channels: int, embed_dims: int) -> None:
        super().__init__()
        hidden = embed_dims // 2
        self.conv1 = nn.Conv2d(in_channels, hidden, kernel_size=3, stride=2, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(hidden)
        self.conv2 = nn.Conv2d(hidden, hidden, kernel_size=3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(hidden)
        self.conv3 = nn.Conv2d(hidden, embed_dims, kernel_size=3, stride=2, padding=1, bias=False)
        self.act1, self.act2 = nn.ReLU(), nn.ReLU()  # two, so that tools can fuse each with what is before it
        self.pos = PixelAttention(embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, embed_dims, ceil(H / 4), ceil(W / 4))."""
        x = self.act1(call_layer(self.norm1, call_layer(self.conv1, x)))
        x = self.act2(call_layer(self.norm2, call_layer(self.conv2, x)))
        return self.pos(call_layer(self.conv3, x))


class PatchEmbed(nn.Module):
    """Patch embedding of ResT between two stages: 3x3/2 convolution, BN, position encoding.

    Args:
        in_channels (int): Channels of the stage before.
        embed_dims (int): Channels of the stage after.
    """

    def __init__(self, in_channels: int, embed_dims: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, embed_dims, kernel_size=3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(embed_dims)
        self.pos = PixelAttention(embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, embed_dims, ceil(H / 2), ceil(W / 2))."""
        return self.pos(call_layer(self.norm, call_layer(self.conv, x)))


class StemV2(nn.Module):
    """The stem of ResTv2: an image to a map of a quarter of its size.

    Two 3x3/2 convolutions without bias, each with BN and ReLU, a 1x1 convolution, position encoding, LayerNorm over
    channels (arXiv 2204.07366).

    Args:
        in_channels (int): Channels of the image.
        embed_dims (int): Channels of the first stage.
        norm_layer (Callable): Builds a norm from a number of channels.
    """

    def __init__(self, in_channels: int, embed_dims: int, norm_layer: Callable[[int], nn.Module]) -> None:
        super().__init__()
        hidden = embed_dims // 2
        self.proj = LayerSequence(
            nn.Conv2d(in_channels, hidden, kernel_size=3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, embed_dims, kernel_size=3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(embed_dims),
            nn.ReLU(),
            nn.Conv2d(embed_dims, embed_dims, kernel_size=1),
        )
        self.pos = PixelAttention(embed_dims)
        self.norm = norm_layer(embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, embed_dims, ceil(H / 4), ceil(W / 4))."""
        return norm_channels(self.norm, self.pos(self.proj(x)))


class PatchEmbedV2(nn.Module):
    """Patch embedding of ResTv2 between two stages: 3x3/2 convolution, position encoding, LayerNorm.

    Args:
        in_channels (int): Channels of the stage before.
        embed_dims (int): Channels of the stage after.
        norm_layer (Callable): Builds a norm from a number of channels.
    """

    def __init__(self, in_channels: int, embed_dims: int, norm_layer: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, embed_dims, kernel_size=3, stride=2, padding=1)
        self.pos = PixelAttention(embed_dims)
        self.norm = norm_layer(embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, embed_dims, ceil(H / 2), ceil(W / 2))."""
        return norm_channels(self.norm, self.pos(call_layer(self.proj, x)))


def norm_channels(norm: nn.Module, x: Tensor) -> Tensor:
    """Apply a norm of the last dimension to the channels of a map, (B, C, H, W)."""
    return norm(x.movedim(1, -1)).movedim(-1, 1)
