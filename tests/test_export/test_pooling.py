"""Adaptive pooling as matrix products, against PyTorch's own at any size."""

import pytest
import torch
from torch import nn

pytest.importorskip('mmengine')

from mmrest.export.pooling import AveragingPool2d, replace_adaptive_pools  # noqa: E402


@pytest.mark.parametrize('output_size', [(1, 1), (2, 2), (3, 5), (6, 6), (None, 4), (7, None)])
@pytest.mark.parametrize('shape', [(1, 1), (2, 3), (5, 6), (6, 12), (7, 31), (40, 25)])
def test_averaging_pool_equals_adaptive_pool(output_size, shape):
    x = torch.rand(2, 3, *shape, dtype=torch.float64)
    expected = nn.AdaptiveAvgPool2d(output_size)(x)
    torch.testing.assert_close(AveragingPool2d(output_size)(x), expected, rtol=1e-12, atol=1e-12)


def test_replace_adaptive_pools_leaves_only_plain_means():
    model = nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Sequential(nn.AdaptiveAvgPool2d(3), nn.ReLU()), nn.AdaptiveAvgPool2d((None, 2))
    )
    x = torch.rand(1, 2, 9, 7)
    expected = model[1](x), model[2](x)
    replace_adaptive_pools(model)
    assert [type(part) for part in (model[0], model[1][0], model[2])] == [
        nn.AdaptiveAvgPool2d,
        AveragingPool2d,
        AveragingPool2d,
    ]
    torch.testing.assert_close((model[1](x), model[2](x)), expected)
