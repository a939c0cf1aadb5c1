"""Stems and patch embeddings."""

from __future__ import annotations

from typing import Callable

from torch import Tensor, nn

from ..ops import call_layer
from .position import PixelAttention
from .sequential import LayerSequence


class Stem(nn.Module):
    """Stem of ResT (arXiv 2105.13677): three 3x3 convolutions of total stride 4 and a position encoding.

    3x3/2 convolution to half the channels, BN, ReLU, 3x3/1 convolution, BN, ReLU, 3x3/2 convolution, position
    encoding. As in the released weights, the convolutions have no bias and the third has no norm.

    Args:
        in_channels (int): Number of channels of the image.
        embed_dims (int): Number of channels of the first stage.
    """

    def __init__(self, in_channels: int, embed_dims: int) -> None:
        super().__init__()
        hidden = embed_dims // 2
        self.conv1 = nn.Conv2d(in_channels, hidden, kernel_size=3, stride=2, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(hidden)
        self.conv2 = nn.Conv2d(hidden, hidden, kernel_size=3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(hidden)
        self.conv3 = nn.Conv2d(hidden, embed_dims, kernel_size=3, stride=2, padding=1, bias=False)
        self.act1, self.act2 = nn.ReLU(), nn.ReLU()  # separate modules, so that tools can fuse each with its conv
        self.pos = PixelAttention(embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, embed_dims, ceil(H / 4), ceil(W / 4))."""
        x = self.act1(call_layer(self.norm1, call_layer(self.conv1, x)))
        x = self.act2(call_layer(self.norm2, call_layer(self.conv2, x)))
        return self.pos(call_layer(self.conv3, x))


class PatchEmbed(nn.Module):
    """Patch embedding of ResT between stages: 3x3/2 convolution, BN, position encoding.

    Args:
        in_channels (int): Number of channels of the previous stage.
        embed_dims (int): Number of channels of the next stage.
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
    """Stem of ResTv2 (arXiv 2204.07366): two 3x3/2 convolutions, a 1x1 convolution and a position encoding.

    Both 3x3 convolutions have no bias and are followed by BN and ReLU; LayerNorm over channels at the end.

    Args:
        in_channels (int): Number of channels of the image.
        embed_dims (int): Number of channels of the first stage.
        norm_layer (Callable): Builds a norm from the number of channels.
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
    """Patch embedding of ResTv2 between stages: 3x3/2 convolution, position encoding, LayerNorm.

    Args:
        in_channels (int): Number of channels of the previous stage.
        embed_dims (int): Number of channels of the next stage.
        norm_layer (Callable): Builds a norm from the number of channels.
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
    """Apply a norm of the last dimension to the channels of a map: (B, C, H, W) -> (B, C, H, W)."""
    return norm(x.movedim(1, -1)).movedim(-1, 1)
