"""Blocks, embeddings and their parts."""
import pytest
import torch
from torch import nn

from mmrest.layers import EMSA, BatchNorm2d, DropPath, PatchEmbed, PixelAttention, Stem, TransformerBlock


@pytest.mark.parametrize('size', [(1, 1), (1, 9), (7, 5), (8, 8)])
@pytest.mark.parametrize('layer, factor', [(Stem(3, 8), 4), (PatchEmbed(3, 8), 2)])
def test_embeddings_round_sizes_up(layer, factor, size):
    out = layer.eval()(torch.rand(2, 3, *size))
    assert out.shape == (2, 8, -(-size[0] // factor), -(-size[1] // factor))


def test_pixel_attention_is_the_formula():
    layer = PixelAttention(4)
    x = torch.randn(1, 4, 5, 5)
    expected = x * torch.sigmoid(layer.pa_conv(x))
    torch.testing.assert_close(layer(x), expected)
    assert layer.pa_conv.groups == 4


@pytest.mark.parametrize('sr_ratio', [1, 2, 4, 8])
@pytest.mark.parametrize('hw_shape', [(1, 1), (3, 5), (16, 9)])
def test_keys_are_reduced_and_rounded_up(sr_ratio, hw_shape):
    attn = EMSA(16, num_heads=4, sr_ratio=sr_ratio)
    x = torch.randn(2, hw_shape[0] * hw_shape[1], 16)
    assert attn(x, hw_shape).shape == x.shape
    expected = tuple(-(-n // sr_ratio) for n in hw_shape)
    reduced, reduced_shape = attn._reduce(x, hw_shape)
    assert reduced_shape == expected and reduced.shape == (2, expected[0] * expected[1], 16)


def test_one_head_has_no_mixing():
    assert EMSA(16, num_heads=1).transform_conv is None
    assert EMSA(16, num_heads=2).transform_conv is not None


def test_attention_dropout_only_in_training():
    attn = EMSA(16, num_heads=2, attn_drop_rate=0.5)
    x = torch.randn(1, 9, 16)
    assert not torch.equal(attn(x, (3, 3)), attn(x, (3, 3)))
    attn.eval()
    assert torch.equal(attn(x, (3, 3)), attn(x, (3, 3)))


def test_heads_must_divide_channels():
    with pytest.raises(ValueError, match='multiple of num_heads'):
        EMSA(16, num_heads=3)


def test_drop_path_drops_whole_samples():
    layer = DropPath(0.25)
    out = layer(torch.ones(4000, 2, 3))
    assert out.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert all(len(sample.unique()) == 1 for sample in out)
    assert out.mean() == pytest.approx(1, abs=0.05)
    assert torch.equal(layer.eval()(torch.ones(3, 2)), torch.ones(3, 2))
    with pytest.raises(ValueError, match='drop_prob'):
        DropPath(1.0)


def test_block_is_two_residual_branches():
    block = TransformerBlock(16, EMSA(16, 2, 2), mlp_ratio=2)
    assert block.mlp.fc1.out_features == 32
    for layer in (block.attn.proj, block.mlp.fc2):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    x = torch.randn(2, 12, 16)
    assert torch.equal(block(x, (3, 4)), x)


def test_batch_norm_of_a_single_value_uses_running_statistics():
    norm = BatchNorm2d(3)
    norm.running_mean += 1
    x = torch.rand(1, 3, 1, 1, requires_grad=True)
    torch.testing.assert_close(norm(x), (x - 1) / (1 + norm.eps)**0.5)
    assert norm.num_batches_tracked == 0
    with pytest.raises(ValueError, match='more than 1 value'):
        nn.BatchNorm2d(3)(x)
    assert torch.equal(BatchNorm2d(3)(x.expand(2, 3, 4, 4)), nn.BatchNorm2d(3)(x.expand(2, 3, 4, 4)))
