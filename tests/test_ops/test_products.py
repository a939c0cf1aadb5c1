"""Matrix products of blocks of maps."""

import pytest
import torch
from helpers.launches import Launches
from torch._subclasses.fake_tensor import FakeTensorMode

from mmrest.ops.products import Scratch, has_wide_results, head_products, mix_heads, multiply, padded, uses_tf32


@pytest.mark.parametrize('length, expected', [(1, 16), (16, 16), (49, 64), (1050, 1056)])
def test_padded_length_is_the_next_multiple_of_16(length, expected):
    assert padded(length) == expected


@pytest.mark.parametrize('accumulate', [False, True])
@pytest.mark.parametrize('dtype', [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_product_of_any_operands_is_exact(dtype, accumulate):
    a, b = (torch.randn(2, *shape).to(dtype) for shape in ((5, 300), (300, 7)))
    out = torch.full((2, 5, 7), 3.0, dtype=torch.promote_types(dtype, torch.float32))
    expected = 0.5 * a.double() @ b.double() + (3 if accumulate else 0)
    assert multiply(a, b, out, alpha=0.5, accumulate=accumulate) is out
    torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=1e-5)


def test_product_ignores_what_out_holds():
    out = torch.full((1, 2, 2), torch.nan)
    multiply(torch.ones(1, 2, 3).half(), torch.ones(1, 3, 2).half(), out)
    assert torch.equal(out, torch.full((1, 2, 2), 3.0))


def test_product_of_half_operands_does_not_overflow():
    a = torch.full((1, 1, 300), 300.0, dtype=torch.float16)
    assert multiply(a, a.transpose(1, 2), torch.empty(1, 1, 1)).item() == 300**3


@pytest.mark.skipif(not has_wide_results('cuda'), reason='this torch has no products with a wider result')
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_product_on_cuda_is_one_launch_with_a_float32_result(dtype):
    with FakeTensorMode(), Launches() as launches:
        a, b = (torch.empty(2, 5, 5, dtype=dtype, device='cuda') for _ in range(2))
        multiply(a, b, torch.empty(2, 5, 5, device='cuda'))
    assert launches.counts == {'baddbmm': 1}


def test_only_cuda_has_wide_results():
    assert not has_wide_results('cpu') and not has_wide_results('mps')


@pytest.fixture
def restored_precision():
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize('precision, tf32', [('highest', False), ('high', True)])
def test_tf32_is_read_from_the_setting_of_torch(precision, tf32, restored_precision):
    torch.set_float32_matmul_precision(precision)
    assert uses_tf32('cuda') == tf32 and not uses_tf32('cpu')
    assert torch.get_float32_matmul_precision() == precision


@pytest.mark.skipif(not hasattr(torch.backends.cuda.matmul, 'fp32_precision'), reason='torch before 2.9')
def test_tf32_is_read_where_only_the_new_setting_was_used(restored_precision):
    # The older flag raises an error then.
    torch.backends.cuda.matmul.fp32_precision = 'tf32'
    assert uses_tf32('cuda')
    torch.backends.cuda.matmul.fp32_precision = 'ieee'


@pytest.mark.parametrize('tf32', [False, True])
def test_heads_are_mixed_as_the_formula_says(tf32):
    weight, maps, other = torch.randn(4, 4), torch.randn(4, 2, 5, 16), torch.randn(4, 2, 5, 16)
    mixed = mix_heads(weight.t(), maps, torch.full_like(maps, torch.nan), tf32)
    torch.testing.assert_close(mixed, torch.einsum('gh,gbnm->hbnm', weight, maps))
    products = head_products(maps, other, tf32)
    assert products.dtype == torch.float64
    torch.testing.assert_close(products.float(), torch.einsum('hbnm,gbnm->hg', maps, other))


def test_no_product_of_matrices_mixes_heads_under_tf32():
    weight, maps = torch.randn(4, 4), torch.randn(4, 2, 5, 16)
    with Launches() as launches:
        mix_heads(weight, maps, torch.empty_like(maps), tf32=True)
        head_products(maps, maps, tf32=True)
    assert launches.counts['mv'] == 8 and not {'mm', 'bmm', 'baddbmm', 'addmm'} & set(launches.counts)


def test_buffers_are_shared_by_name():
    scratch = Scratch(torch.empty(0))
    first = scratch('first', (4, 6), torch.float32)
    assert scratch('first', (2, 6), torch.float32).data_ptr() == first.data_ptr()
    assert scratch('first', (4, 12), torch.float16).data_ptr() == first.data_ptr()
    assert scratch('second', (4, 6), torch.float32).data_ptr() != first.data_ptr()
    assert scratch('first', (5, 6), torch.float32).shape == (5, 6)
