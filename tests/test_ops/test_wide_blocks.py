"""The form of attention for a GPU, on CPU tensors; every fault of its predecessor has a test."""

import itertools

import pytest
import torch
from helpers.attention_errors import Case, assert_twice_as_far_at_most, compare
from helpers.launches import Launches, count_launches, count_mixing_calls, make_cuda_inputs
from torch._subclasses.fake_tensor import FakeTensorMode

from mmrest.ops import emsa, emsa_chunked, emsa_direct, emsa_reference, wide_blocks
from mmrest.ops.attention import max_direct_elements, mix_directly
from mmrest.ops.chunked import choose_form, resolve_form
from mmrest.ops.products import ROW_MULTIPLE
from mmrest.ops.wide_blocks import TorchSteps, row_blocks

DTYPES = ['float32', 'bfloat16', 'float16']
SHARPNESS = [0.05, 1.0, 8.0, 60.0]
SIZES = [(2, 64, 130, 77), (4, 64, 60, 131), (8, 64, 67, 70), (4, 96, 65, 66), (8, 64, 3, 1050), (2, 64, 20, 6)]


def cases():
    """All of them; by default those in which every pair of a dtype and a sharpness occurs, and every size."""
    every = itertools.product(enumerate(DTYPES), enumerate(SHARPNESS), enumerate(SIZES))
    for (i, dtype), (j, sharpness), (k, sizes) in every:
        marks = () if k == (2 * j + i) % len(SIZES) else pytest.mark.slow
        yield pytest.param(Case(dtype, sharpness, *sizes), marks=marks, id=f'{dtype}-{sharpness}-{sizes}')


@pytest.mark.parametrize('case', cases())
@pytest.mark.parametrize('rows', [10**6, 16])
def test_error_is_at_most_twice_that_of_the_formula(case, rows):
    elements = rows * case.heads * 2 * (case.keys + 15)
    found = compare(lambda *a: emsa_chunked(*a, block_elements=elements, form='wide'), case)
    assert_twice_as_far_at_most(found)


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('sharpness', SHARPNESS)
def test_error_without_products_of_matrices_is_at_most_twice_that_of_the_formula(dtype, sharpness):
    class Steps(TorchSteps):
        def __init__(self, *args):
            super().__init__(*args, tf32=True)

    class Attention(torch.autograd.Function):
        @staticmethod
        def forward(ctx, q, k, v, weight):
            out, rstd = wide_blocks.forward(q, k, v, weight, 1e-5, 2**13, Steps)
            ctx.save_for_backward(q, k, v, weight, out, rstd)
            return out

        @staticmethod
        def backward(ctx, grad):
            return wide_blocks.backward(grad, *ctx.saved_tensors, 2**13, Steps)

    assert_twice_as_far_at_most(compare(lambda *a: Attention.apply(*a[:4]), Case(dtype, sharpness, 4, 64, 60, 131)))


@pytest.mark.parametrize('grad, expected', [(0.5, 22262), (0.05, 2226.2)])
def test_popular_key_does_not_overflow_in_float16(grad, expected):
    # 8000 queries look at one key; the sum over them, times a scale, is beyond float16.
    q, k, v = torch.ones(1, 2, 8000, 64), torch.zeros(1, 2, 32, 64), torch.randn(1, 2, 32, 64)
    k[:, :, 0] = 4.0
    q, k, v = (x.half().requires_grad_() for x in (q, k, v))
    out = emsa_chunked(q, k, v, torch.eye(2), form='wide')
    grads = torch.autograd.grad(out, (q, k, v), torch.full_like(out, grad))
    assert [x.isfinite().all().item() for x in (out, *grads)] == [True] * (1 + len(grads))
    assert grads[2][0, 0, 0, 0].item() == pytest.approx(expected, rel=1e-3)


def test_large_values_do_not_overflow_in_float16():
    # Where attention is flat, r is 316, and r * v is beyond float16.
    inputs = [0.01 * torch.randn(1, 2, 20, 8), torch.randn(1, 2, 6, 8), 1000 * torch.randn(1, 2, 6, 8), torch.eye(2)]
    q, k, v = (x.half().requires_grad_() for x in inputs[:3])
    out = emsa_chunked(q, k, v, inputs[3], form='wide')
    (own,) = torch.autograd.grad(out, q, torch.full_like(out, 0.01))
    q64, k64, v64 = (x.detach().double().requires_grad_() for x in (q, k, v))
    exact_out = emsa_reference(q64, k64, v64, inputs[3].double())
    (exact,) = torch.autograd.grad(exact_out, q64, torch.full_like(exact_out, 0.01))
    assert own.isfinite().all() and (own - exact).norm() < 0.002 * exact.norm()


class Recorded(TorchSteps):
    """PyTorch's steps that keep the logits."""

    logits: list[torch.Tensor] = []

    def maps(self, logits, norms):
        self.logits.append(logits.clone())
        return super().maps(logits, norms)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_logits_are_not_rounded(dtype, monkeypatch):
    monkeypatch.setattr(Recorded, 'logits', [])
    q, k, v = (torch.randn(2, 4, n, 64).to(dtype) for n in (10, 21, 21))
    wide_blocks.forward(q, k, v, torch.eye(4), 1e-5, 10**6, Recorded)
    (logits,) = Recorded.logits
    exact = (q.double() @ k.double().transpose(-2, -1)).transpose(0, 1)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits[..., :21].double(), exact, rtol=0, atol=1e-4)


@pytest.mark.parametrize('m', [1, 6, 16, 1050])
def test_rows_of_scratch_are_aligned(m, monkeypatch):
    monkeypatch.setattr(Recorded, 'logits', [])
    q, k = torch.randn(1, 2, 5, 8), torch.randn(1, 2, m, 8)
    wide_blocks.forward(q, k, k, torch.eye(2), 1e-5, 10**6, Recorded)
    columns = Recorded.logits[0].shape[-1]
    assert columns % ROW_MULTIPLE == 0 and m <= columns < m + ROW_MULTIPLE
    assert Recorded.logits[0].is_contiguous()


@pytest.fixture
def poisoned():
    """Uninitialized memory holds NaN."""
    torch.use_deterministic_algorithms(True)
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('mixing', [True, False])
def test_uninitialized_memory_is_not_read(dtype, mixing, poisoned):
    q, k, v = (torch.randn(2, 2, n, 8).to(getattr(torch, dtype)).requires_grad_() for n in (33, 21, 21))
    mix = [torch.randn(2, 2, requires_grad=True)] if mixing else []
    out = emsa_chunked(q, k, v, *mix, block_elements=2 * 2 * 32 * 8, form='wide')
    for x in (out, *torch.autograd.grad(out.float().sum(), (q, k, v, *mix))):
        assert x.isfinite().all()


@pytest.mark.parametrize('dtype', DTYPES)
def test_no_pass_over_maps_is_wasted(dtype):
    forward, backward = count_launches(1, 4, 4200, 1050, getattr(torch, dtype))
    products = 'baddbmm'
    assert forward.passes == [products, 'mm', 'softmax', 'add', 'linalg_vector_norm', products]
    to_half = [] if dtype == 'float32' else ['copy_']
    assert backward.passes == [
        *[products, 'mm', 'softmax', products, 'addcmul_', '_softmax_backward_data', 'bmm', 'mm'],
        *[*to_half, 'add', products, products, products],
    ]


# Before this form: 400 + 780, 670 + 1390 and 4450 + 9930.
@pytest.mark.parametrize('batch, most', [(1, (204, 372)), (2, (280, 540)), (16, (1160, 2520))])
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_launches_of_a_training_step_are_few(batch, most, dtype):
    sums = count_mixing_calls(batch, getattr(torch, dtype))
    assert sums[0] <= most[0] and sums[1] <= most[1], sums


@pytest.mark.parametrize('device, form', [('cpu', 'cached'), ('cuda', 'wide'), ('mps', 'wide')])
def test_form_follows_the_device(device, form):
    assert choose_form(device) == form
    assert resolve_form('wide', torch.empty(1, 2, 1, 1), mixing=True) == 'wide'


@pytest.mark.parametrize('n, taken', [(500, 'direct'), (5000, 'chunked')])
def test_small_maps_of_a_gpu_are_kept(n, taken):
    assert max_direct_elements('cuda') > max_direct_elements('cpu')
    calls = []
    with FakeTensorMode():
        q, k, v, weight = make_cuda_inputs(1, 4, n, 500, 64, torch.float32)
        with Launches() as launches:
            calls.append(emsa(q, k, v, weight))
    assert (launches.counts['softmax'] + launches.counts['_softmax'] > 0) == (taken == 'direct')
    # Mixing by a product of matrices would be rounded under TF32: one for the logits, one for the values.
    assert launches.counts['bmm'] == (2 if taken == 'direct' else 0)


def test_direct_mixing_off_the_cpu_is_the_same():
    weight, logits = torch.randn(4, 4, requires_grad=True), torch.randn(2, 4, 9, 7, requires_grad=True)
    outs = [mix_directly(weight, logits, device) for device in ('cpu', 'cuda')]
    torch.testing.assert_close(*outs)
    grad = torch.randn_like(outs[0])
    torch.testing.assert_close(*[torch.autograd.grad(out, (weight, logits), grad) for out in outs])


@pytest.mark.parametrize('n, per_row, elements', [(1, 5, 1), (10, 5, 1), (10, 5, 17), (10, 5, 10**6), (7, 0, 3)])
def test_blocks_of_rows_cover_everything_once(n, per_row, elements):
    blocks = row_blocks(n, per_row, elements)
    assert [i for rows in blocks for i in range(n)[rows]] == list(range(n))
    lengths = [len(range(n)[rows]) for rows in blocks]
    assert [length for length in lengths if length > 1 and length * per_row > elements] == []


def test_layout_of_results_is_that_of_linear_layers():
    q, k, v = (torch.randn(2, 4, n, 8).requires_grad_() for n in (10, 6, 6))
    out = emsa_chunked(q, k, v, torch.eye(4), form='wide')
    for x in (out, *torch.autograd.grad(out.sum(), (q, k, v))):
        assert x.transpose(1, 2).is_contiguous()


def test_direct_and_wide_agree():
    q, k, v = (torch.randn(2, 4, n, 8, dtype=torch.float64) for n in (10, 6, 6))
    weight = torch.randn(4, 4, dtype=torch.float64)
    torch.testing.assert_close(emsa_direct(q, k, v, weight), emsa_chunked(q, k, v, weight, form='wide'))
