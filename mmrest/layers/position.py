"""Position encodings that work at any image size."""
from __future__ import annotations

from torch import Tensor, nn

from .inference import in_inference


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
        if in_inference(self):  # the convolution's output is not needed for anything else
            return self.pa_conv(x).sigmoid_().mul_(x)
        return x * self.pa_conv(x).sigmoid()


def build_position(position: str, embed_dims: int) -> nn.Module:
    """The position encoding of that name.

    Args:
        position (str): 'pa' for :class:`PixelAttention`, 'none' for nothing.
        embed_dims (int): Number of channels.

    Raises:
        ValueError: There is none of that name.
    """
    if position == 'pa':
        return PixelAttention(embed_dims)
    if position == 'none':
        return nn.Identity()
    raise ValueError(f'Unknown position encoding {position!r}: choose from pa, none.')
