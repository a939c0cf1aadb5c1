"""Transformer blocks, the feed-forward network and stochastic depth."""

import pytest
import torch
from torch import nn

from mmrest.layers import EMSA, FFN, DropPath, TransformerBlock
from mmrest.ops import ffn, norm_ffn, recompute


def test_drop_path_in_training_drops_whole_samples():
    layer = DropPath(0.25)
    out = layer(torch.ones(4000, 2, 3))
    assert out.unique().tolist() == pytest.approx([0, 1 / 0.75])
    torch.testing.assert_close(out, out[:, :1, :1].expand_as(out), rtol=0, atol=0)
    assert out.mean() == pytest.approx(1, abs=0.05)
    assert torch.equal(layer.eval()(torch.ones(3, 2)), torch.ones(3, 2))
    with pytest.raises(ValueError, match='drop_prob'):
        DropPath(1.0)


def test_block_with_zeroed_branches_is_the_identity():
    block = TransformerBlock(16, EMSA(16, 2, 2), mlp_ratio=2)
    assert block.mlp.fc1.out_features == 32
    for layer in (block.attn.proj, block.mlp.fc2):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    x = torch.randn(2, 12, 16)
    assert torch.equal(block(x, (3, 4)), x)


@pytest.mark.parametrize('block', [1, 100, 2**20])
@pytest.mark.parametrize('shape', [(2, 12, 8), (1, 1, 8), (1, 0, 8)])
def test_ffn_by_blocks_in_inference_equals_the_formula(shape, block, monkeypatch):
    monkeypatch.setitem(ffn.BLOCK_ELEMENTS, 'cpu', block)
    norm, layer = nn.LayerNorm(8).double(), FFN(8, 32, drop_rate=0.5).double().eval()
    x = torch.randn(shape, dtype=torch.float64)
    expected = layer(norm(x))
    norm.eval()
    with torch.no_grad():
        torch.testing.assert_close(norm_ffn(norm, layer, x), expected, rtol=0, atol=1e-12)
        with torch.autocast('cpu', dtype=torch.bfloat16):
            assert norm_ffn(norm.float(), layer.float(), x.float()).dtype == torch.bfloat16


def test_block_in_inference_changes_neither_input_nor_hooked_outputs():
    block, x = TransformerBlock(16, EMSA(16, 2, 2)).eval(), torch.randn(1, 12, 16)
    before, seen = x.clone(), []
    block.attn.register_forward_hook(lambda *args: seen.append((args[2], args[2].clone())))
    block.mlp.register_forward_hook(lambda *args: seen.append((args[2], args[2].clone())))
    with torch.no_grad():
        out = block(x, (3, 4))
    assert len(seen) == 2
    for now, then in [(x, before), *seen]:
        torch.testing.assert_close(now, then, rtol=0, atol=0)
    torch.testing.assert_close(out, block(x, (3, 4)))


@pytest.mark.parametrize('with_cp', [False, True])
@pytest.mark.parametrize('drop_rate', [0.0, 0.2])
@pytest.mark.parametrize('autocast', [False, True])
def test_recomputed_block_has_the_same_gradients(with_cp, drop_rate, autocast):
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


def test_recomputed_block_keeps_fewer_tensors():
    saved = []
    for ffn_recompute, with_cp in ((False, False), (True, False), (True, True)):
        block, sizes = TransformerBlock(16, EMSA(16, 2, 2), ffn_recompute=ffn_recompute), []
        x = torch.randn(1, 144, 16, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(lambda x, to=sizes: to.append(x.numel()) or x, lambda x: x):
            recompute(block, x, (12, 12)) if with_cp else block(x, (12, 12))
        saved.append(sum(sizes))
    assert saved[0] > 1.3 * saved[1] and saved[1] > 1.3 * saved[2]  # parameters included
