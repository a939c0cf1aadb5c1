"""The feed-forward network over blocks of tokens."""

import pytest
import torch
import torch.nn.functional as F

from mmrest.ops import ffn, ffn_recomputed


def plain(x, norm_weight, norm_bias, weight1, bias1, weight2, bias2):
    normed = F.layer_norm(x, x.shape[-1:], norm_weight, norm_bias, 1e-5)
    return F.linear(F.gelu(F.linear(normed, weight1, bias1)), weight2, bias2)


def recomputed(x, norm_weight, norm_bias, *linear):
    return ffn_recomputed(x, norm_weight, norm_bias, 1e-5, *linear)


def inputs(batch=2, tokens=9, channels=6, dtype=torch.float64):
    shapes = [
        (batch, tokens, channels),
        (channels,),
        (channels,),
        (4 * channels, channels),
        (4 * channels,),
        (channels, 4 * channels),
        (channels,),
    ]
    return [torch.randn(shape, dtype=torch.float64).to(dtype).requires_grad_() for shape in shapes]


def run(function, args, grad):
    out = function(*args)
    return [out.detach(), *torch.autograd.grad(out, args, grad.to(out.dtype))]


@pytest.fixture(params=[1, 100, 2**20])
def block(request, monkeypatch):
    monkeypatch.setitem(ffn.BLOCK_ELEMENTS, 'cpu', request.param)


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_equals_the_layers(dtype, block):
    args = inputs(tokens=40, dtype=dtype)
    grad = torch.randn(args[0].shape)
    exact = run(plain, [x.detach().double().requires_grad_() for x in args], grad.to(dtype))
    for own, stock, expected in zip(run(recomputed, args, grad), run(plain, args, grad), exact):
        own, stock = ((x.double() - expected).square().mean().sqrt() / expected.std() for x in (own, stock))
        assert own <= 2 * stock + (1e-14 if dtype == torch.float64 else 0)


def test_gradients(block):
    assert torch.autograd.gradcheck(recomputed, inputs(), atol=1e-7)


def test_only_the_input_is_kept():
    args = inputs(tokens=50)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x.numel()) or x, lambda x: x):
        recomputed(*args)
    assert sum(saved) <= sum(x.numel() for x in args)


def test_second_derivative_is_refused():
    args = inputs()
    (grad,) = torch.autograd.grad(recomputed(*args).sum(), args[0], create_graph=True)
    with pytest.raises(RuntimeError, match='ffn_recompute=False'):
        grad.sum().backward()


def test_operators_are_well_formed():
    args = inputs()
    args.insert(3, 1e-5)
    torch.library.opcheck(torch.ops.mmrest.ffn_recomputed.default, args)
