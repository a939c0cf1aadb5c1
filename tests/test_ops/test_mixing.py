"""Interaction of heads without InstanceNorm, by blocks of queries, against the formula."""

import sys

import pytest
import torch

from mmrest.ops import emsa, emsa_reference


def make(dtype, n=37, m=11, heads=4, dims=8):
    q, k, v = (torch.randn(2, heads, length, dims, dtype=torch.float64) for length in (n, m, m))
    weight, bias = torch.randn(heads, heads, dtype=torch.float64), torch.randn(heads, dtype=torch.float64)
    return [x.to(dtype).requires_grad_() for x in (q, k, v, weight, bias)]


@pytest.fixture(autouse=True, params=[1, 1000, 2**22])
def row_elements(request, monkeypatch):
    # The function has the name of its module.
    monkeypatch.setattr(sys.modules['mmrest.ops.attention'], 'ROW_ELEMENTS', request.param)


def test_equals_the_formula_in_float64():
    inputs = make(torch.float64)
    out, expected = emsa(*inputs, normalize=False), emsa_reference(*inputs, normalize=False)
    assert (out - expected).abs().max() < 1e-9 * expected.std()
    grad = torch.randn_like(out)
    for a, b in zip(torch.autograd.grad(out, inputs, grad), torch.autograd.grad(expected, inputs, grad)):
        assert (a - b).abs().max() < 1e-9 * max(b.std(), 1e-3)
    # The bias, which softmax removes, has a gradient all the same: of zero, up to rounding.
    assert torch.autograd.grad(emsa(*inputs, normalize=False).sum(), inputs[4])[0].abs().max() < 1e-12


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_is_as_exact_as_the_formula(dtype):
    inputs = make(torch.float64)
    exact = emsa_reference(*inputs, normalize=False)
    lower = [x.detach().to(dtype) for x in inputs]
    errors = [(f(*lower, normalize=False).double() - exact).pow(2).mean() for f in (emsa, emsa_reference)]
    assert errors[0] <= 4 * errors[1]  # of the square


def test_instance_norm_is_what_is_left_out():
    inputs = make(torch.float64)
    assert not torch.allclose(emsa(*inputs), emsa(*inputs, normalize=False))
    plain = emsa(*inputs[:3], torch.eye(4, dtype=torch.float64), normalize=False)
    torch.testing.assert_close(plain, emsa(*inputs[:3]))


@pytest.mark.parametrize('impl', ['reference', 'direct', 'chunked', 'auto'])
def test_whatever_the_implementation(impl):
    inputs = make(torch.float64)
    torch.testing.assert_close(emsa(*inputs, normalize=False, impl=impl), emsa_reference(*inputs, normalize=False))
