"""Every implementation of EMSA against the formula in float64, and what surrounds them: dtypes, compilation, export."""

import itertools
import sys

import pytest
import torch

from mmrest.benchmark.numerics import KEYS, NAMES, PATHS, SHARPNESS, mean_rms_errors, output_and_gradients
from mmrest.ops import emsa, emsa_chunked, emsa_direct, emsa_reference, resolve_impl
from mmrest.ops.cached_blocks import blocks

FAST = ['direct', 'chunked']
FORMS = ['cached', 'wide']


def small(batch=2, heads=2, n=10, m=6, d=4, dtype=torch.float64):
    shapes = [(batch, heads, n, d), (batch, heads, m, d), (batch, heads, m, d), (heads, heads), (heads,)]
    return [torch.randn(shape, dtype=dtype) for shape in shapes]


def grid(*more):
    """All dtypes, sharpnesses, numbers of keys and what else is given; by default those in which every pair occurs."""
    dtypes = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
    for (i, dtype), (j, sharpness), (k, keys) in itertools.product(
        enumerate(dtypes), enumerate(SHARPNESS), enumerate(KEYS)
    ):
        for m, one in enumerate(more or [None]):
            by_default = k == (i + j) % 2 and (not more or m == (i // 2 + j) % 2)
            values = (dtype, sharpness, keys, *([one] if more else []))
            yield pytest.param(*values, marks=() if by_default else pytest.mark.slow)


@pytest.mark.parametrize('dtype, sharpness, keys, path', list(grid(*FAST)))
def test_exact(dtype, sharpness, keys, path):
    found, plain = (mean_rms_errors(f, SHARPNESS[sharpness], KEYS[keys], dtype) for f in (PATHS[path], emsa_reference))
    for name in NAMES:
        assert found[name] <= (1e-9 if dtype == torch.float64 else 2 * plain[name]), name


@pytest.mark.parametrize('dtype, sharpness, keys', list(grid()))
def test_exact_without_mixing(dtype, sharpness, keys):
    found, plain = (
        mean_rms_errors(function, SHARPNESS[sharpness], KEYS[keys], dtype, mixing=False)
        for function in (emsa_chunked, emsa_reference)
    )
    assert set(found) == {'out', 'q', 'k', 'v'}
    for name in found:
        assert found[name] <= (1e-9 if dtype == torch.float64 else 2 * plain[name]), name


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('block_elements', [1, 50, 10**6])
@pytest.mark.parametrize('batch, heads, n, m', [(1, 2, 1, 1), (2, 4, 1, 5), (3, 2, 7, 1), (1, 8, 9, 8), (3, 3, 17, 6)])
def test_any_size_in_any_blocks(batch, heads, n, m, block_elements, form):
    inputs = [*small(batch, heads, n, m), torch.randn(batch, heads, n, 4, dtype=torch.float64)]
    exact = output_and_gradients(emsa_reference, inputs)
    for own, expected in zip(
        output_and_gradients(lambda *a: emsa_chunked(*a, block_elements=block_elements, form=form), inputs), exact
    ):
        torch.testing.assert_close(own, expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('block_elements', [1, 50, 10**6])
@pytest.mark.parametrize('batch, heads, n, m', [(1, 2, 1, 1), (3, 1, 17, 6), (1, 8, 5, 1)])
def test_any_size_without_mixing(batch, heads, n, m, block_elements, form):
    inputs = [*small(batch, heads, n, m)[:3], torch.randn(batch, heads, n, 4, dtype=torch.float64)]
    exact = output_and_gradients(emsa_reference, inputs)
    for own, expected in zip(
        output_and_gradients(lambda *a: emsa_chunked(*a, block_elements=block_elements, form=form), inputs), exact
    ):
        torch.testing.assert_close(own, expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize('sizes', [(1, 1, 1, 1), (5, 2, 7, 3), (2, 8, 100, 9), (4, 2, 3, 50)])
@pytest.mark.parametrize('block_elements', [1, 64, 500, 10**6])
def test_blocks_cover_everything_once(sizes, block_elements):
    batch, heads, n, m = sizes
    seen = torch.zeros(batch, n)
    for images, parts in blocks(batch, heads, n, m, block_elements):
        for rows in parts:
            seen[images, rows] += 1
            block = seen[images, rows].numel() * heads * m
            assert block <= block_elements or seen[images, rows].numel() == 1
    assert torch.equal(seen, torch.ones(batch, n))


@pytest.mark.matrix
@pytest.mark.parametrize('impl', FAST)
def test_gradients(impl):
    args = [x.requires_grad_() for x in small(batch=1, n=7, m=3)]
    assert torch.autograd.gradcheck(lambda *a: emsa(*a, impl=impl), args, atol=1e-7)


@pytest.mark.parametrize('impl', FAST)
def test_mixing_bias_has_a_gradient_of_exactly_zero(impl):
    args = [x.requires_grad_() for x in small()]
    emsa(*args, impl=impl).square().sum().backward()
    assert torch.equal(args[-1].grad, torch.zeros(2, dtype=torch.float64))


def test_only_some_inputs_need_gradients():
    q, k, v, weight, bias = small()
    k.requires_grad_()
    (expected,) = torch.autograd.grad(emsa_reference(q, k, v, weight, bias).square().sum(), k)
    (own,) = torch.autograd.grad(emsa_chunked(q, k, v, weight, None).square().sum(), k)
    torch.testing.assert_close(own, expected)


@pytest.mark.parametrize('form', FORMS)
def test_no_map_is_kept(form):
    args = [x.requires_grad_() for x in small(batch=1, n=200, m=100, d=8)]
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x.numel()) or x, lambda x: x):
        emsa_chunked(*args, block_elements=1000, form=form)
    assert sum(saved) < 200 * 100  # one head's map


def test_second_derivative():
    args = [x.requires_grad_() for x in small()]
    (grad,) = torch.autograd.grad(emsa(*args, impl='chunked').sum(), args[0], create_graph=True)
    with pytest.raises(RuntimeError, match="attn_impl='reference'"):
        grad.sum().backward()
    second = []
    for impl in ('reference', 'direct'):
        (grad,) = torch.autograd.grad(emsa(*args, impl=impl).square().sum(), args[0], create_graph=True)
        second.append(torch.autograd.grad(grad.square().sum(), args[1])[0])
    torch.testing.assert_close(*second)


@pytest.mark.parametrize('impl', FAST)
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_autocast(impl, dtype):
    args = [x.requires_grad_() for x in small(n=64, m=16, d=8, dtype=torch.float32)]
    exact = emsa_reference(*(x.detach().double() for x in args))
    with torch.autocast('cpu', dtype=dtype):
        out, plain = emsa(*args, impl=impl), emsa_reference(*args)
        out.float().sum().backward()  # inside, where its state is still on
    assert out.dtype == dtype and all(x.grad.dtype == torch.float32 and x.grad.isfinite().all() for x in args)
    assert (out - exact).square().mean() <= 4 * (plain - exact).square().mean()
    doubles = [x.detach().double() for x in args]
    with torch.autocast('cpu', dtype=dtype):  # leaves float64 alone
        assert emsa(*doubles, impl=impl).dtype == torch.float64


@pytest.mark.matrix
@pytest.mark.parametrize('impl', FAST)
def test_compiled_in_one_graph(impl):
    args = [x.requires_grad_() for x in small(dtype=torch.float32)]
    graphs = []

    def count(graph, _):
        graphs.append([node for node in graph.graph.nodes if 'emsa' in str(node.target)])
        return graph

    compiled = torch.compile(lambda *a: emsa(*a, impl=impl), backend=count, fullgraph=True)
    torch.testing.assert_close(compiled(*args), emsa(*args, impl=impl))
    assert len(graphs) == 1 and len(graphs[0]) == (impl == 'chunked')
    traced = torch.compile(lambda *a: emsa(*a, impl=impl), backend='aot_eager', fullgraph=True)
    for own, expected in zip(
        torch.autograd.grad(traced(*args).sum(), args), torch.autograd.grad(emsa(*args, impl='reference').sum(), args)
    ):
        torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('form', FORMS)
def test_operators_are_well_formed(form):
    q, k, v, weight, bias = (x.requires_grad_() for x in small())
    torch.library.opcheck(torch.ops.mmrest.emsa_chunked.default, (q, k, v, weight, bias, 1e-5, 40, form))
    torch.library.opcheck(torch.ops.mmrest.emsa_chunked.default, (q, k, v, None, None, 1e-5, 40, form))


def test_dispatch(monkeypatch):
    taken = []
    module = sys.modules['mmrest.ops.attention']
    for name in ('emsa_reference', 'emsa_direct', 'emsa_chunked'):
        function = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, n=name, f=function, **kw: taken.append(n[5:]) or f(*a, **kw))
    args = small()
    monkeypatch.setitem(module.DIRECT_ELEMENTS, 'cpu', 2 * 2 * 10 * 6)
    emsa(*args)
    emsa(*small(n=11))
    for impl in ('reference', 'direct', 'chunked', 'triton'):
        emsa(*args, impl=impl)
    emsa(*args, dropout_p=0.1, impl='chunked')
    emsa(*(x.to('meta') for x in args), impl='chunked')
    emsa(*args[:3], impl='reference')
    assert taken == ['direct', 'chunked', 'reference', 'direct', 'chunked', 'chunked', *['reference'] * 3]


def test_export_takes_the_formula():
    class Attention(torch.nn.Module):
        def forward(self, *args):
            return emsa(*args, impl='chunked')

    args = tuple(small(dtype=torch.float32))
    expected = Attention()(*args)
    program = torch.export.export(Attention(), args)
    code = program.graph_module.print_readable(print_output=False)
    assert 'emsa_chunked' not in code and 'softmax' in code
    torch.testing.assert_close(program.module()(*args), expected)
    traced = torch.jit.trace(Attention(), args, check_trace=False)
    assert 'emsa_chunked' not in str(traced.inlined_graph) and 'softmax' in str(traced.inlined_graph)
    torch.testing.assert_close(traced(*args), expected)


def test_the_switch(monkeypatch):
    with pytest.raises(ValueError, match="Unknown impl 'fast': choose from auto, reference, direct, chunked"):
        emsa(*small(), impl='fast')
    with pytest.raises(ValueError, match="Unknown attn_impl 'fast'"):
        resolve_impl('fast')
    monkeypatch.setenv('MMREST_ATTN_IMPL', 'direct')
    assert resolve_impl() == 'direct' and resolve_impl('chunked') == 'chunked'
    monkeypatch.setenv('MMREST_ATTN_IMPL', 'fast')
    with pytest.raises(ValueError, match="environment variable MMREST_ATTN_IMPL 'fast'"):
        resolve_impl()
    monkeypatch.delenv('MMREST_ATTN_IMPL')
    assert resolve_impl() == 'auto'


def test_direct_is_the_formula():
    args = small()
    torch.testing.assert_close(emsa_direct(*args), emsa_reference(*args), rtol=0, atol=1e-12)
