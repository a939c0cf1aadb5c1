"""Pixel attention, the position encoding of both models."""

import torch

from mmrest.layers import PixelAttention


def test_pixel_attention_equals_the_formula():
    layer = PixelAttention(4)
    x = torch.randn(1, 4, 5, 5)
    expected = x * torch.sigmoid(layer.pa_conv(x))
    torch.testing.assert_close(layer(x), expected)
    assert layer.pa_conv.groups == 4
