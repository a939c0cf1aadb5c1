"""The feed-forward network that keeps the input of GELU, but not its output."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmrest.layers.block import FFN
from mmrest.ops import fast_paths, ffn, norm_ffn
from mmrest.ops.ffn_blocks import ffn_in_blocks


def plain(x, weight1, bias1, weight2, bias2):
    return F.linear(F.gelu(F.linear(x, weight1, bias1)), weight2, bias2)


def inputs(batch=2, tokens=9, channels=6, dtype=torch.float64):
    shapes = [
        (batch, tokens, channels),
        (4 * channels, channels),
        (4 * channels,),
        (channels, 4 * channels),
        (channels,),
    ]
    return [torch.randn(shape, dtype=torch.float64).to(dtype).requires_grad_() for shape in shapes]


def run(function, args, grad):
    out = function(*args)
    return [out.detach(), *torch.autograd.grad(out, args, grad.to(out.dtype))]


@pytest.mark.parametrize('block', [1, 7, 80])
@pytest.mark.parametrize('dtype', [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_errors_are_those_of_the_layers(dtype, block):
    args = inputs(tokens=40, dtype=dtype)
    grad = torch.randn(args[0].shape)
    exact = run(plain, [x.detach().double().requires_grad_() for x in args], grad.to(dtype))
    own = run(lambda *a: ffn_in_blocks(*a, block), args, grad)
    for found, stock, expected in zip(own, run(plain, args, grad), exact):
        found, stock = ((x.double() - expected).square().mean().sqrt() / expected.std() for x in (found, stock))
        assert found <= 2 * stock + (1e-14 if dtype == torch.float64 else 0)


def test_derivatives():
    args = inputs()
    assert torch.autograd.gradcheck(lambda *a: ffn_in_blocks(*a, 5), args, atol=1e-7)
    assert torch.autograd.gradgradcheck(lambda *a: ffn_in_blocks(*a, 5), args, atol=1e-6)


@pytest.mark.parametrize('only', range(5))
def test_one_input_may_need_a_gradient(only):
    args = [x.detach().requires_grad_(i == only) for i, x in enumerate(inputs())]
    for again in (False, True):
        (own,), (expected,) = (
            torch.autograd.grad(f(*args).square().sum(), args[only], create_graph=again)
            for f in (lambda *a: ffn_in_blocks(*a, 5), plain)
        )
        torch.testing.assert_close(own, expected)


@pytest.fixture
def layers(monkeypatch):
    """A LayerNorm and a network, of which 4 tokens are a block."""
    monkeypatch.setattr(ffn, 'KEPT_BLOCK_ELEMENTS', 4 * 64)
    return nn.LayerNorm(16), FFN(16, 64)


def saved_hidden_values(norm, network, x):
    """Number of tensors of hidden values that autograd keeps, of a network with 64 of them."""
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.shape) or t, lambda t: t):
        norm_ffn(norm, network, x)
    return sum(shape[-1] == 64 and len(shape) > 1 and 16 not in shape for shape in saved)


def test_output_of_gelu_is_not_kept(layers):
    x = torch.randn(2, 5, 16)
    assert saved_hidden_values(*layers, x) == 1
    with fast_paths(False):
        assert saved_hidden_values(*layers, x) == 2


@pytest.mark.parametrize('case', ['small', 'dropout', 'hook', 'tanh', 'no bias'])
def test_other_networks_are_called(layers, case):
    norm, network = layers
    x = torch.randn(1, 4 if case == 'small' else 9, 16)
    if case == 'dropout':
        network.drop.p = 0.5
    elif case == 'hook':
        network.fc1.register_forward_hook(lambda *_: None)
    elif case == 'tanh':
        network.act.approximate = 'tanh'
    elif case == 'no bias':
        network.fc1.bias = None
    assert saved_hidden_values(norm, network, x) >= 2


def test_autocast(layers):
    x = torch.randn(2, 9, 16, requires_grad=True)
    results = []
    for enabled in (True, False):
        with torch.autocast('cpu', dtype=torch.bfloat16), fast_paths(enabled):
            out = norm_ffn(*layers, x)
        parameters = [x, *layers[1].parameters()]
        results.append([out.detach(), *torch.autograd.grad(out.float().square().sum(), parameters)])
        assert out.dtype == torch.bfloat16 and all(t.dtype == torch.float32 for t in results[-1][1:])
    torch.testing.assert_close(*results, rtol=0.02, atol=0.05)
