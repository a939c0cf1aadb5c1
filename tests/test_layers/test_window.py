"""Windows of a feature map, and the convolution across them."""

import pytest
import torch

from mmrest.layers.window import CrossWindowConv, attend_in_windows, window_partition, window_unpartition


@pytest.mark.parametrize('window_shape', [(1, 1), (2, 3), (4, 6)])
def test_window_unpartition_undoes_window_partition(window_shape):
    x = torch.randn(2, 4, 6, 3)
    windows = window_partition(x, window_shape)
    assert windows.shape == (2 * 24 // (window_shape[0] * window_shape[1]), window_shape[0] * window_shape[1], 3)
    torch.testing.assert_close(window_unpartition(windows, window_shape, (4, 6)), x, rtol=0, atol=0)


def test_window_partition_cuts_rows_of_windows_from_the_upper_left():
    x = torch.arange(16).view(1, 4, 4, 1)
    assert window_partition(x, (2, 2))[..., 0].tolist() == [
        [0, 1, 4, 5],
        [2, 3, 6, 7],
        [8, 9, 12, 13],
        [10, 11, 14, 15],
    ]


@pytest.mark.parametrize('hw_shape', [(4, 4), (5, 7), (1, 9), (3, 2)])
def test_attend_in_windows_with_mean_gives_the_mean_of_each_window(hw_shape):
    x = torch.randn(2, hw_shape[0] * hw_shape[1], 3, dtype=torch.float64)
    out = attend_in_windows(lambda tokens, shape: tokens.mean(1, keepdim=True).expand_as(tokens), x, hw_shape, 4)
    expected = x.unflatten(1, hw_shape).clone()
    for top in range(0, hw_shape[0], 4):
        for left in range(0, hw_shape[1], 4):
            window = expected[:, top : top + 4, left : left + 4]
            window[:] = window.mean(dim=(1, 2), keepdim=True)
    torch.testing.assert_close(out, expected.flatten(1, 2), rtol=0, atol=1e-12)


def test_cross_window_conv_with_zero_weights_is_the_identity():
    layer = CrossWindowConv(4)
    torch.nn.init.zeros_(layer.conv.weight)
    torch.nn.init.zeros_(layer.conv.bias)
    x = torch.randn(2, 15, 4)
    torch.testing.assert_close(layer(x, (3, 5)), x, rtol=0, atol=0)
