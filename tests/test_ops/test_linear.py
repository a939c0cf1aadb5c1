"""Linear layers computed as 1x1 convolutions are linear layers."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmrest.ops import fast_paths
from mmrest.ops import linear as module
from mmrest.ops.linear import call_linear, fast_linear

LARGE = dict(tokens=300, channels=256, out=192)


def tensors(tokens, channels, out, dtype=torch.float64, batch=2):
    x = torch.randn(batch, tokens, channels, dtype=dtype)
    return x, torch.randn(out, channels, dtype=dtype) / channels**0.5, torch.randn(out, dtype=dtype)


@pytest.fixture
def convolutions(monkeypatch, two_threads):
    """Count the linear layers that are computed as convolutions."""
    calls = []
    original = F.conv2d
    monkeypatch.setattr(module, 'float32_library', lambda: 'onednn')
    monkeypatch.setattr(module.F, 'conv2d', lambda *args: calls.append(args) or original(*args))
    return calls


@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize('shape', [(600, 256), (2, 300, 256), (1, 20000, 256)])
def test_errors_are_those_of_a_linear_layer(convolutions, shape, bias):
    x, weight, b = tensors(**LARGE)
    x, b = torch.randn(shape), b if bias else None
    x, weight, b = (t if t is None else t.float().double() for t in (x, weight, b))
    own, stock = ([t.float().requires_grad_() if t is not None else None for t in (x, weight, b)] for _ in range(2))
    exact = [t.clone().requires_grad_() if t is not None else None for t in (x, weight, b)]
    outs = [fast_linear(*own), F.linear(*stock), F.linear(*exact)]
    assert len(convolutions) == 1 and outs[0].is_contiguous() and outs[0].shape == outs[1].shape
    factor = torch.randn(outs[0].shape).double()
    for out in outs:
        (out * factor.to(out.dtype)).sum().backward()
    results = [[out, *(t.grad for t in ts if t is not None)] for out, ts in zip(outs, (own, stock, exact))]
    for a, b, c in zip(*results):
        errors = [(t.double() - c).square().mean().sqrt() for t in (a, b)]
        assert errors[0] <= 2 * errors[1], errors


@pytest.mark.parametrize(
    'case',
    [
        'one thread',
        'few tokens',
        'small',
        'float64',
        'bfloat16',
        'strided',
        'autocast',
        'exported',
        'another vendor',
        'switch',
    ],
)
def test_others_are_stock(convolutions, case, monkeypatch):
    x, weight, bias = tensors(
        **LARGE, dtype={'float64': torch.float64, 'bfloat16': torch.bfloat16}.get(case, torch.float32)
    )
    if case == 'one thread':
        torch.set_num_threads(1)
    elif case == 'another vendor':  # MKL is as fast there, and faster in training
        monkeypatch.setattr(module, 'float32_library', lambda: 'blas')
    elif case == 'few tokens':
        x = x[:1, :20].contiguous()
    elif case == 'small':
        weight, bias = weight[:8], bias[:8]
    elif case == 'strided':
        x = x[:, ::2]
    if case == 'exported':
        graph = torch.export.export(Calls(nn.Linear(256, 192)), (x,))
        assert 'linear' in str(graph.graph) and 'conv' not in str(graph.graph)
        return
    with torch.autocast('cpu', dtype=torch.bfloat16, enabled=case == 'autocast'), fast_paths(case != 'switch'):
        out, expected = fast_linear(x, weight, bias), F.linear(x, weight, bias)
    assert not convolutions and torch.equal(out, expected)


class Calls(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return call_linear(self.layer, x)


def test_a_stock_layer_is_convolved_and_another_is_called(convolutions):
    x, layer = torch.randn(2, 300, 256), nn.Linear(256, 192)
    expected = F.linear(x, layer.weight, layer.bias)
    torch.testing.assert_close(call_linear(layer, x), expected)
    assert len(convolutions) == 1
    seen = []
    handle = layer.register_forward_hook(lambda module, args, out: seen.append(args[0]))
    assert torch.equal(call_linear(layer, x), expected) and seen[0] is x
    handle.remove()
    assert torch.equal(call_linear(nn.Sequential(layer), x), expected) and len(convolutions) == 1
    compiled = torch.compile(Calls(layer), backend='eager', fullgraph=True)
    torch.testing.assert_close(compiled(x), expected)
    assert len(convolutions) == 1
