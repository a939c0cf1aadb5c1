"""Triton's kernels without a GPU: interpreted, and the choice between them and PyTorch's operations."""

import itertools
import json
import os
import sys

import pytest
import torch
from conftest import REPO, run_process
from helpers.attention_errors import assert_twice_as_far_at_most
from helpers.launches import count_mixing_calls, make_cuda_inputs
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from mmrest.ops import emsa, resolve_impl, triton_rows
from mmrest.ops.chunked import resolve_form

DTYPES = ['float32', 'bfloat16', 'float16']
SHARPNESS = [0.05, 1.0, 8.0, 60.0]
# Queries and keys that fill no tile, one key more than a tile, and the keys of 800x1344.
SIZES = [(7, 77), (9, 513), (3, 1050)]
HEADS = [2, 4, 8]
CHANNELS = [64, 96]


def grid() -> list:
    return [
        (dtype, sharpness, heads, channels, *sizes)
        for dtype, sharpness, heads, channels, sizes in itertools.product(DTYPES, SHARPNESS, HEADS, CHANNELS, SIZES)
    ]


def some() -> list:
    """Every dtype with every sharpness; heads, channels and sizes in turn."""
    pairs = itertools.product(enumerate(DTYPES), enumerate(SHARPNESS))
    return [
        (dtype, sharpness, HEADS[(i + j) % 3], CHANNELS[j % 2], *SIZES[(i + 2 * j) % 3])
        for (i, dtype), (j, sharpness) in pairs
    ]


def interpret(cases: list) -> dict:
    """Return what tests/helpers/interpreted_rows.py finds, in a process whose kernels are interpreted."""
    pytest.importorskip('triton', reason='triton is not installed')
    script = REPO / 'tests/helpers/interpreted_rows.py'
    env = dict(os.environ, PYTHONPATH=f'{REPO}{os.pathsep}{REPO / "tests"}', OMP_NUM_THREADS='1')
    output = run_process([sys.executable, '-W', 'ignore', script, json.dumps(cases)], REPO, env, timeout=1200)
    return json.loads(output.splitlines()[-1])


@pytest.fixture(scope='module')
def interpreted() -> dict:
    """Results of some cases, of one process."""
    return interpret(some())


def assert_all_are_close(cases: list, found: list) -> None:
    for case, errors in zip(cases, found, strict=True):
        try:
            assert_twice_as_far_at_most(errors)
        except AssertionError as error:
            raise AssertionError(f'{case}: {error}') from None


def test_interpreted_error_is_at_most_twice_that_of_the_formula(interpreted):
    assert_all_are_close(some(), interpreted['errors'])


@pytest.mark.slow
def test_interpreted_error_of_the_whole_grid():
    assert_all_are_close(grid(), interpret(grid())['errors'])


def test_interpreted_operators_are_well_formed(interpreted):
    assert not interpreted['faults']


def test_importing_the_package_does_not_import_triton(interpreted):
    assert not interpreted['imports_triton']


class Queries:
    """Stand-in for queries on a GPU, with the attributes that are read of them."""

    def __init__(self, dtype=torch.bfloat16, device='cuda'):
        self.dtype, self.device, self.is_cuda = dtype, torch.device(device), device == 'cuda'


@pytest.fixture
def gpu(monkeypatch):
    """An NVIDIA GPU of capability 9.0, and Triton."""
    monkeypatch.delenv('TRITON_INTERPRET', raising=False)
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device: (9, 0))
    monkeypatch.setattr(torch.version, 'hip', None)
    monkeypatch.setattr(triton_rows.importlib.util, 'find_spec', lambda name: object())
    return monkeypatch


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('heads', HEADS)
def test_kernels_run_on_a_gpu(heads, dtype, gpu):
    assert triton_rows.runs_kernels(Queries(getattr(torch, dtype)), heads)


@pytest.mark.parametrize(
    'queries, heads', [(Queries(), 3), (Queries(), 16), (Queries(torch.float64), 4), (Queries(device='cpu'), 4)]
)
def test_kernels_do_not_run_for_what_they_cannot_do(queries, heads, gpu):
    assert not triton_rows.runs_kernels(queries, heads)


def test_kernels_do_not_run_on_an_old_gpu(gpu):
    gpu.setattr(torch.cuda, 'get_device_capability', lambda device: (7, 5))
    assert not triton_rows.runs_kernels(Queries(), 4)


def test_kernels_do_not_run_on_amd(gpu):
    gpu.setattr(torch.version, 'hip', '6.0')
    assert not triton_rows.runs_kernels(Queries(), 4)


def test_kernels_do_not_run_without_triton(gpu):
    gpu.setattr(triton_rows.importlib.util, 'find_spec', lambda name: None)
    assert not triton_rows.runs_kernels(Queries(), 4)


@pytest.mark.parametrize('mixing', [True, False])
def test_fallback_is_the_form_of_the_device(mixing):
    q = torch.randn(1, 2, 5, 4)
    assert resolve_form('triton', q, mixing) == 'cached'
    args = [q, torch.randn(1, 2, 6, 4), torch.randn(1, 2, 6, 4), *([torch.eye(2)] if mixing else [])]
    assert torch.equal(emsa(*args, impl='triton'), emsa(*args, impl='chunked' if mixing else 'auto'))


class Forms(TorchDispatchMode):
    """Forms that the operator of attention is asked for."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.mmrest.emsa_chunked.default:
            self.seen.append(args[7])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize('impl, form', [('auto', None), ('chunked', None), ('triton', 'triton')])
def test_kernels_are_opt_in(impl, form, monkeypatch):
    monkeypatch.setenv('MMREST_ATTN_IMPL', impl)
    with FakeTensorMode():
        inputs = make_cuda_inputs(1, 4, 4200, 1050, 64, torch.bfloat16)
        with Forms() as forms:
            emsa(*inputs, impl=resolve_impl())
    assert forms.seen == [form]


# PyTorch's operations between the products take 204 + 372, 280 + 540 and 1160 + 2520.
@pytest.mark.parametrize('batch, most', [(1, (156, 276)), (2, (200, 380)), (16, (640, 1480))])
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_launches_of_a_training_step_are_few(batch, most, dtype):
    sums = count_mixing_calls(batch, getattr(torch, dtype), triton=True)
    assert sums[0] <= most[0] and sums[1] <= most[1], sums
