"""The attention function against the formula spelt out with loops and stock layers."""

import pytest
import torch
import torch.nn.functional as F

from mmrest.ops import IMPLS, emsa, emsa_reference, resolve_impl
from mmrest.ops.attention import instance_norm


def inputs(batch=2, heads=4, n=15, m=6, d=8, dtype=torch.float64, sharpness=1.0):
    q, k, v = (torch.randn(batch, heads, size, d, dtype=dtype) for size in (n, m, m))
    return sharpness * q, k, v, torch.randn(heads, heads, dtype=dtype), torch.randn(heads, dtype=dtype)


def released_form(q, k, v, weight, bias, eps=1e-5):
    """With the stock layers that the authors used."""
    maps = F.conv2d(q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5, weight[..., None, None], bias).softmax(-1)
    return F.instance_norm(maps, eps=eps) @ v


def test_mixing_equals_stock_layers():
    args = inputs()
    torch.testing.assert_close(emsa(*args), released_form(*args), rtol=0, atol=1e-12)


def test_no_mixing_equals_loop():
    q, k, v, *_ = inputs()
    for b in range(2):
        for h in range(4):
            expected = torch.softmax(q[b, h] @ k[b, h].T / 8**0.5, dim=-1) @ v[b, h]
            torch.testing.assert_close(emsa(q, k, v)[b, h], expected, rtol=0, atol=1e-12)
            torch.testing.assert_close(emsa_reference(q, k, v)[b, h], expected, rtol=0, atol=1e-12)


@pytest.mark.matrix
@pytest.mark.parametrize('n, m', [(1, 1), (5, 1), (1, 5), (7, 3)])
def test_gradients(n, m):
    args = [x.requires_grad_() for x in inputs(batch=1, heads=2, n=n, m=m, d=3)]
    assert torch.autograd.gradcheck(emsa, args, atol=1e-7)


def test_one_element_map_gives_zero():
    # Its own mean taken off it, nothing is left; the stock layer refuses this size.
    assert torch.equal(emsa(*inputs(n=1, m=1)), torch.zeros(2, 4, 1, 8, dtype=torch.float64))


def test_mixing_bias_does_nothing():
    q, k, v, weight, bias = inputs()
    torch.testing.assert_close(emsa(q, k, v, weight, bias), emsa(q, k, v, weight), rtol=0, atol=1e-12)
    bias.requires_grad_()
    emsa(q, k, v, weight, bias).square().sum().backward()
    assert bias.grad.abs().max() < 1e-12


@pytest.mark.parametrize('sharpness', [0.01, 1.0, 10.0])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16])
def test_low_precision_is_no_worse_than_stock_layers(dtype, sharpness):
    exact = inputs(n=64, m=16, sharpness=sharpness)
    args = [x.to(dtype) for x in exact]
    expected = released_form(*(x.double() for x in args))
    ours, stock = ((f(*args).double() - expected).abs().max() / expected.std() for f in (emsa, released_form))
    assert emsa(*args).dtype == dtype
    assert ours <= 2 * stock + 1e-7


def test_autocast_is_no_worse_than_stock_layers():
    args = inputs(n=64, m=16, dtype=torch.float32)
    expected = released_form(*(x.double() for x in args))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        ours, stock = emsa(*args), released_form(*args)
    assert ours.dtype == torch.bfloat16
    assert (ours - expected).abs().max() <= 2 * (stock - expected).abs().max()


def test_dropout_keeps_the_mean():
    q, k, v, weight, bias = inputs(batch=1, heads=2, n=4, m=64)
    mean = torch.stack([emsa(q, k, v, weight, bias, dropout_p=0.3) for _ in range(600)]).mean(0)
    exact = emsa(q, k, v, weight, bias)
    assert not torch.equal(emsa(q, k, v, weight, bias, dropout_p=0.3), exact)
    assert (mean - exact).abs().max() < 0.5 * exact.std()


def test_instance_norm_equals_stock_layer():
    maps = torch.rand(2, 3, 5, 7, dtype=torch.float64)
    torch.testing.assert_close(instance_norm(maps), F.instance_norm(maps), rtol=0, atol=1e-12)


@pytest.mark.parametrize('impl', IMPLS)
@pytest.mark.parametrize('mixing', [True, False])
@pytest.mark.parametrize('sizes', [dict(n=0), dict(m=0), dict(batch=0)], ids=str)
def test_nothing_to_attend_to(impl, mixing, sizes):
    q, k, v, *mix = inputs(**sizes)
    out = emsa(q, k, v, *(mix if mixing else ()), impl=impl)
    assert out.shape == q.shape and (out == 0).all()


@pytest.mark.parametrize('impl', IMPLS)
@pytest.mark.parametrize('wrong', [1, 2])
def test_shapes_that_do_not_go_together(impl, wrong):
    args = list(inputs())
    args[wrong] = args[wrong][..., :5]
    with pytest.raises(ValueError, match=r"keys and values \(B, heads, n', d\); got"):
        emsa(*args, impl=impl)


def test_an_empty_environment_variable_is_not_set(monkeypatch):
    monkeypatch.setenv('MMREST_ATTN_IMPL', '')
    assert resolve_impl() == 'auto'
