"""Feature maps as tokens and back."""

import torch

from mmrest.layers.tokens import to_map, to_tokens


def test_to_tokens_goes_through_a_map_row_by_row():
    x = torch.arange(12).view(1, 2, 2, 3)
    assert to_tokens(x)[0].tolist() == [[0, 6], [1, 7], [2, 8], [3, 9], [4, 10], [5, 11]]


def test_to_map_undoes_to_tokens():
    x = torch.randn(2, 5, 3, 4)
    torch.testing.assert_close(to_map(to_tokens(x), (3, 4)), x, rtol=0, atol=0)


def test_to_map_of_one_image_has_channels_last_strides():
    """Other strides of the batch have led BatchNorm on a CPU to read its gradient in the wrong order."""
    x = to_map(torch.randn(1, 12, 5), (3, 4))
    assert x.stride() == (60, 1, 20, 5)
