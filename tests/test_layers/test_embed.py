"""Stems and patch embeddings."""

import pytest
import torch

from mmrest.layers import PatchEmbed, Stem


@pytest.mark.parametrize('size', [(1, 1), (1, 9), (7, 5), (8, 8)])
@pytest.mark.parametrize('layer, factor', [(Stem(3, 8), 4), (PatchEmbed(3, 8), 2)])
def test_embedding_of_any_size_rounds_it_up(layer, factor, size):
    out = layer.eval()(torch.rand(2, 3, *size))
    assert out.shape == (2, 8, -(-size[0] // factor), -(-size[1] // factor))
