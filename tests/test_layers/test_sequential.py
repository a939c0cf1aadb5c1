"""Sequences of layers."""

import torch
from torch import nn

from mmrest.layers import LayerSequence


def test_layer_sequence_equals_torch_sequential():
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1)]
    layers[1].running_mean.normal_()
    own, plain = LayerSequence(*layers).eval(), nn.Sequential(*layers).eval()
    assert own.state_dict().keys() == plain.state_dict().keys()
    x = torch.randn(1, 3, 20, 20)
    with torch.no_grad():
        torch.testing.assert_close(own(x), plain(x))
