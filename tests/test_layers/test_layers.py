"""Blocks, embeddings and their parts."""

import pytest
import torch
from torch import nn

from mmrest.layers import (
    EMSA,
    FFN,
    DropPath,
    LayerSequence,
    PatchEmbed,
    PixelAttention,
    Stem,
    TransformerBlock,
)
from mmrest.ops import ffn, norm_ffn, recompute


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
    reduced, reduced_shape = attn.reduce(x, hw_shape)
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


def test_a_sequence_is_that_of_torch():
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1)]
    layers[1].running_mean.normal_()
    own, plain = LayerSequence(*layers).eval(), nn.Sequential(*layers).eval()
    assert own.state_dict().keys() == plain.state_dict().keys()
    x = torch.randn(1, 3, 20, 20)
    with torch.no_grad():
        torch.testing.assert_close(own(x), plain(x))


@pytest.mark.parametrize('block', [1, 100, 2**20])
@pytest.mark.parametrize('shape', [(2, 12, 8), (1, 1, 8), (1, 0, 8)])
def test_feed_forward_by_blocks_in_inference(shape, block, monkeypatch):
    monkeypatch.setitem(ffn.BLOCK_ELEMENTS, 'cpu', block)
    norm, layer = nn.LayerNorm(8).double(), FFN(8, 32, drop_rate=0.5).double().eval()
    x = torch.randn(shape, dtype=torch.float64)
    expected = layer(norm(x))
    norm.eval()
    with torch.no_grad():
        torch.testing.assert_close(norm_ffn(norm, layer, x), expected, rtol=0, atol=1e-12)
        with torch.autocast('cpu', dtype=torch.bfloat16):
            assert norm_ffn(norm.float(), layer.float(), x.float()).dtype == torch.bfloat16


def test_inference_leaves_its_input_alone():
    block, x = TransformerBlock(16, EMSA(16, 2, 2)).eval(), torch.randn(1, 12, 16)
    before, seen = x.clone(), []
    block.attn.register_forward_hook(lambda *args: seen.append((args[2], args[2].clone())))
    block.mlp.register_forward_hook(lambda *args: seen.append((args[2], args[2].clone())))
    with torch.no_grad():
        out = block(x, (3, 4))
    assert torch.equal(x, before) and len(seen) == 2 and all(torch.equal(*pair) for pair in seen)
    torch.testing.assert_close(out, block(x, (3, 4)))


@pytest.mark.parametrize('with_cp', [False, True])
@pytest.mark.parametrize('drop_rate', [0.0, 0.2])
@pytest.mark.parametrize('autocast', [False, True])
def test_recomputing_changes_no_gradient(with_cp, drop_rate, autocast):
    grads = []
    kwargs = dict(drop_rate=drop_rate, drop_path_rate=0.3)
    blocks = [
        TransformerBlock(16, EMSA(16, 2, 2), **kwargs),
        TransformerBlock(16, EMSA(16, 2, 2), ffn_recompute=True, **kwargs),
    ]
    blocks[1].load_state_dict(blocks[0].state_dict())
    for block in blocks:
        x = torch.linspace(-1, 1, 4 * 12 * 16).view(4, 12, 16).requires_grad_()
        torch.manual_seed(3)  # the same values and samples are dropped
        with torch.autocast('cpu', dtype=torch.bfloat16, enabled=autocast):
            out = recompute(block, x, (3, 4)) if with_cp and block is blocks[1] else block(x, (3, 4))
        out.sin().sum().backward()
        grads.append([x.grad, *(p.grad for p in block.parameters())])
    for own, expected in zip(grads[1], grads[0]):
        torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-5)


def test_recomputing_keeps_less():
    saved = []
    for ffn_recompute, with_cp in ((False, False), (True, False), (True, True)):
        block, sizes = TransformerBlock(16, EMSA(16, 2, 2), ffn_recompute=ffn_recompute), []
        x = torch.randn(1, 144, 16, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(lambda x, to=sizes: to.append(x.numel()) or x, lambda x: x):
            recompute(block, x, (12, 12)) if with_cp else block(x, (12, 12))
        saved.append(sum(sizes))
    assert saved[0] > 1.3 * saved[1] and saved[1] > 1.3 * saved[2]  # parameters included
