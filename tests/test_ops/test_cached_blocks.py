"""Blocks in a CPU's cache: each kind of matrix product against the formula in float64."""

from functools import partial

import pytest
import torch

from mmrest.benchmark.numerics import SHARPNESS, make_inputs, output_and_gradients, rms_errors
from mmrest.ops import cached_blocks, emsa_chunked, emsa_reference
from mmrest.ops.cached_blocks import BatchedProducts, GroupedProducts, NarrowProducts, choose_products

KINDS = {
    'batched': (BatchedProducts, torch.float32),
    'grouped': (GroupedProducts, torch.float32),
    'narrow': (NarrowProducts, torch.bfloat16),
}


@pytest.fixture
def use(monkeypatch, two_threads):
    """A function that makes all passes take one kind of products, with operands of a dtype."""

    def choose(kind, operand):
        monkeypatch.setattr(cached_blocks, 'choose_products', lambda q, m: kind(q, operand))

    return choose


@pytest.mark.parametrize('heads, mixing', [(1, False), (4, False), (4, True)])
@pytest.mark.parametrize('sharpness', list(SHARPNESS))
@pytest.mark.parametrize('name', list(KINDS))
def test_errors_are_those_of_the_formula(use, name, sharpness, heads, mixing):
    kind, dtype = KINDS[name]
    use(kind, dtype)
    inputs = make_inputs(SHARPNESS[sharpness], 49, 2, heads, 200, 32, dtype, mixing)
    # blocks of less than an image, and of two images
    for elements in (heads * 49 * 64, 10**6):
        found, plain = (
            rms_errors(partial(emsa_chunked, block_elements=elements), inputs),
            rms_errors(emsa_reference, inputs),
        )
        assert {key: error for key, error in found.items() if not error <= 2 * plain[key]} == {}, plain


@pytest.mark.parametrize('block_elements', [1, 50, 10**6])
@pytest.mark.parametrize('batch, heads, n, m', [(1, 2, 1, 1), (2, 4, 1, 5), (3, 2, 7, 1), (1, 8, 9, 8), (3, 1, 17, 6)])
@pytest.mark.parametrize('kind', [BatchedProducts, GroupedProducts])
@pytest.mark.parametrize('mixing', [True, False])
def test_algebra_is_exact_in_any_blocks(use, kind, mixing, batch, heads, n, m, block_elements):
    use(kind, torch.float64)
    inputs = make_inputs(1.0, m, batch, heads, n, 4, mixing=mixing)
    exact = output_and_gradients(emsa_reference, inputs)
    own = output_and_gradients(partial(emsa_chunked, block_elements=block_elements), inputs)
    torch.testing.assert_close(own, exact, rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    'float32, bfloat16, dtype, shape, expected',
    [
        ('blas', 'float32', torch.float32, (64, 64, 64), BatchedProducts),
        ('onednn', 'float32', torch.float32, (64, 64, 64), GroupedProducts),
        ('onednn', 'float32', torch.float32, (16, 64, 64), BatchedProducts),
        ('onednn', 'float32', torch.float32, (64, 16, 64), BatchedProducts),
        ('onednn', 'float32', torch.float32, (64, 64, 16), BatchedProducts),
        ('onednn', 'onednn', torch.float64, (64, 64, 64), BatchedProducts),
        ('onednn', 'onednn', torch.float16, (64, 64, 64), GroupedProducts),
        ('blas', 'onednn', torch.float16, (64, 64, 64), BatchedProducts),
        ('blas', 'onednn', torch.bfloat16, (64, 64, 64), NarrowProducts),
        ('onednn', 'float32', torch.bfloat16, (64, 64, 64), GroupedProducts),
        ('blas', 'float32', torch.bfloat16, (64, 64, 64), BatchedProducts),
    ],
)
def test_products_follow_processor_dtype_and_size(monkeypatch, two_threads, float32, bfloat16, dtype, shape, expected):
    monkeypatch.setattr(cached_blocks, 'float32_library', lambda: float32)
    monkeypatch.setattr(cached_blocks, 'bfloat16_library', lambda: bfloat16)
    n, m, d = shape
    assert type(choose_products(torch.empty(1, 2, n, d, dtype=dtype), m)) is expected
    torch.set_num_threads(1)
    alone = choose_products(torch.empty(1, 2, n, d, dtype=dtype), m)
    assert type(alone) is (BatchedProducts if expected is GroupedProducts else expected)
