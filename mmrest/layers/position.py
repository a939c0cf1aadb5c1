"""Position encoding of ResT and ResTv2."""

from __future__ import annotations

from torch import Tensor, nn

from ..ops import call_layer


class PixelAttention(nn.Module):
    """Pixel attention (PA), a position encoding for any image size (arXiv 2105.13677).

    ``x * sigmoid(depthwise 3x3 convolution of x)``. The zero padding of the convolution encodes positions.

    Args:
        embed_dims (int): Number of channels.
    """

    def __init__(self, embed_dims: int) -> None:
        super().__init__()
        self.pa_conv = nn.Conv2d(embed_dims, embed_dims, kernel_size=3, padding=1, groups=embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return x * call_layer(self.pa_conv, x).sigmoid()
