"""Stems and patch embeddings: from an image, or a stage's map, to the next stage's map."""
from __future__ import annotations

from typing import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from ..ops import call_conv, conv_norm
from .convolution import ConvSequential
from .position import build_position


class Stem(nn.Module):
    """The three-convolution stem of ResT: an image to a map of a quarter of its size.

    3x3/2 convolution to half the channels, BN, ReLU, 3x3/1 convolution, BN, ReLU, 3x3/2 convolution
    to all channels, position encoding (arXiv 2105.13677; as in the released weights, no bias in the
    convolutions and no norm after the third).

    Args:
        in_channels (int): Channels of the image.
        embed_dims (int): Channels of the first stage.
        position (str), grid_size (int, optional): As :func:`~mmrest.layers.position.build_position`
            takes them.
    """

    def __init__(self, in_channels: int, embed_dims: int, position: str = 'pa', grid_size: int | None = None) -> None:
        super().__init__()
        hidden = embed_dims // 2
        self.conv1 = nn.Conv2d(in_channels, hidden, kernel_size=3, stride=2, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(hidden)
        self.conv2 = nn.Conv2d(hidden, hidden, kernel_size=3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(hidden)
        self.conv3 = nn.Conv2d(hidden, embed_dims, kernel_size=3, stride=2, padding=1, bias=False)
        self.act1, self.act2 = nn.ReLU(), nn.ReLU()  # two, so that each can be fused with what is before it
        self.pos = build_position(position, embed_dims, grid_size)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, embed_dims, ceil(H / 4), ceil(W / 4))."""
        x = conv_norm(self.conv1, self.norm1, x, self.act1)
        x = conv_norm(self.conv2, self.norm2, x, self.act2)
        return self.pos(call_conv(self.conv3, x))


class ResNetStem(nn.Module):
    """The stem of ResNet (arXiv 1512.03385) in ResT: 7x7/2 convolution, BN, ReLU, 3x3/2 max-pool, position encoding.

    The parameters and MACs that the ResT paper prints for its models are those with this stem.

    Args:
        in_channels, embed_dims, position, grid_size: As in :class:`Stem`.
    """

    def __init__(self, in_channels: int, embed_dims: int, position: str = 'pa', grid_size: int | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, embed_dims, kernel_size=7, stride=2, padding=3, bias=False)
        self.norm = nn.BatchNorm2d(embed_dims)
        self.act = nn.ReLU()
        self.max_pool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.pos = build_position(position, embed_dims, grid_size)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, embed_dims, ceil(H / 4), ceil(W / 4))."""
        return self.pos(self.max_pool(conv_norm(self.conv, self.norm, x, self.act)))


class PVTStem(nn.Module):
    """The stem of PVT (arXiv 2102.12122) in ResT: patches of 4x4 that do not overlap, LayerNorm, position encoding.

    Images are padded with zeros at the right and lower border to whole patches.

    Args:
        in_channels, embed_dims, position, grid_size: As in :class:`Stem`.
    """

    def __init__(self, in_channels: int, embed_dims: int, position: str = 'pa', grid_size: int | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, embed_dims, kernel_size=4, stride=4)
        self.norm = nn.LayerNorm(embed_dims)
        self.pos = build_position(position, embed_dims, grid_size)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, embed_dims, ceil(H / 4), ceil(W / 4))."""
        x = F.pad(x, (0, 3, 0, 3))  # enough for any size; the convolution leaves out what is no whole patch
        return self.pos(_norm_channels(self.norm, call_conv(self.conv, x)))


STEMS = {'rest': Stem, 'resnet': ResNetStem, 'pvt': PVTStem}


class PatchEmbed(nn.Module):
    """Patch embedding of ResT between two stages: 3x3/2 convolution, BN, position encoding.

    Args:
        in_channels (int): Channels of the stage before.
        embed_dims (int): Channels of the stage after.
        position (str), grid_size (int, optional): As :func:`~mmrest.layers.position.build_position`
            takes them.
    """

    def __init__(self, in_channels: int, embed_dims: int, position: str = 'pa', grid_size: int | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, embed_dims, kernel_size=3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(embed_dims)
        self.pos = build_position(position, embed_dims, grid_size)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, embed_dims, ceil(H / 2), ceil(W / 2))."""
        return self.pos(conv_norm(self.conv, self.norm, x))


class StemV2(nn.Module):
    """The stem of ResTv2: an image to a map of a quarter of its size.

    Two 3x3/2 convolutions without bias, each with BN and ReLU, a 1x1 convolution, position encoding,
    LayerNorm over channels (arXiv 2204.07366).

    Args:
        in_channels (int): Channels of the image.
        embed_dims (int): Channels of the first stage.
        norm_layer (Callable): Builds a norm from a number of channels.
        position (str): As :func:`~mmrest.layers.position.build_position` takes it.
    """

    def __init__(self, in_channels: int, embed_dims: int, norm_layer: Callable[[int], nn.Module],
                 position: str = 'pa') -> None:
        super().__init__()
        hidden = embed_dims // 2
        self.proj = ConvSequential(
            nn.Conv2d(in_channels, hidden, kernel_size=3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, embed_dims, kernel_size=3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(embed_dims),
            nn.ReLU(),
            nn.Conv2d(embed_dims, embed_dims, kernel_size=1),
        )
        self.pos = build_position(position, embed_dims)
        self.norm = norm_layer(embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, embed_dims, ceil(H / 4), ceil(W / 4))."""
        return _norm_channels(self.norm, self.pos(self.proj(x)))


class PatchEmbedV2(nn.Module):
    """Patch embedding of ResTv2 between two stages: 3x3/2 convolution, position encoding, LayerNorm.

    Args:
        in_channels (int): Channels of the stage before.
        embed_dims (int): Channels of the stage after.
        norm_layer (Callable): Builds a norm from a number of channels.
        position (str): As :func:`~mmrest.layers.position.build_position` takes it.
    """

    def __init__(self, in_channels: int, embed_dims: int, norm_layer: Callable[[int], nn.Module],
                 position: str = 'pa') -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, embed_dims, kernel_size=3, stride=2, padding=1)
        self.pos = build_position(position, embed_dims)
        self.norm = norm_layer(embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, embed_dims, ceil(H / 2), ceil(W / 2))."""
        return _norm_channels(self.norm, self.pos(call_conv(self.proj, x)))


def _norm_channels(norm: nn.Module, x: Tensor) -> Tensor:
    """Apply a norm of the last dimension to the channels of a map, (B, C, H, W)."""
    return norm(x.movedim(1, -1)).movedim(-1, 1)
