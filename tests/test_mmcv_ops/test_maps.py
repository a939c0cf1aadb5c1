"""Operators on whole feature maps beside plain formulas."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmcv_cases import generator, with_grads


def test_masked_convolution_equals_a_masked_product(stand_in):
    conv = stand_in.MaskedConv2d(4, 6, 3, padding=1).eval()
    x, mask = torch.randn(1, 4, 9, 8, generator=generator(1)), torch.rand(1, 9, 8, generator=generator(2)) > 0.5
    expected = F.conv2d(x, conv.weight, conv.bias, padding=1) * mask
    with torch.no_grad():
        torch.testing.assert_close(conv(x, mask), expected, rtol=1e-4, atol=1e-5)
        assert not conv(x, torch.zeros_like(mask)).any()


def test_carafe_equals_the_formula(stand_in):
    x = torch.randn(2, 6, 4, 5, generator=generator(0), dtype=torch.float64)
    masks = torch.rand(2, 2 * 9, 8, 10, generator=generator(1), dtype=torch.float64)

    def plain(x, masks):
        patches = F.unfold(x, 3, padding=1).view(2, 2, 3, 9, 4, 5)
        patches = patches.repeat_interleave(2, 4).repeat_interleave(2, 5)
        return (patches * masks.view(2, 2, 1, 9, 8, 10)).sum(3).view(2, 6, 8, 10)

    ours = with_grads(lambda x, masks: stand_in.carafe(x, masks, 3, 2, 2), x, masks)
    for found, other in zip(ours, with_grads(plain, x, masks)):
        torch.testing.assert_close(found, other)
