"""The machine of a benchmark: its names and choices, and the peak of its matrix products."""

import pytest
import torch

from mmrest.benchmark import machine as module
from mmrest.benchmark.machine import describe_machine, format_machine, measure_peak
from mmrest.ops.processor import ENV_BFLOAT16, ENV_FLOAT32, cpu_libraries, processor_name


@pytest.fixture
def clock(monkeypatch):
    """A function that sets the GFLOP/s of products and convolutions, and returns what is then called, with its side."""

    def pretend(**rates):
        calls = []
        for name, owner, function in (('product', torch, 'mm'), ('convolution', module, 'linear_as_conv')):
            monkeypatch.setattr(owner, function, lambda a, b, name=name: calls.append((name, len(a))))

        def time_call(call, device):
            call()
            name, side = calls[-1]
            return 2 * side**3 / rates[name] / 1e9 * (1 if calls.count(calls[-1]) > 2 else 1.1)

        monkeypatch.setattr(module, 'time_call', time_call)
        monkeypatch.setattr(module, 'BUDGET', 0.01)
        return calls

    return pretend


@pytest.mark.parametrize(
    'dtype, peak', [(torch.float32, 150), (torch.bfloat16, 150), (torch.float64, 100), (torch.float16, 100)]
)
def test_peak_is_that_of_the_faster_library_and_of_the_best_call(clock, dtype, peak):
    clock(product=100, convolution=150)
    assert measure_peak(dtype) == pytest.approx(peak)
    clock(product=200, convolution=150)
    assert measure_peak(dtype) == pytest.approx(200)


@pytest.mark.parametrize('rate, side', [(1, 256), (100, 1024), (1e6, 2048)])
def test_matrices_grow_until_a_product_takes_long_enough(clock, monkeypatch, rate, side):
    monkeypatch.setattr(module, 'MAX_SIDE', 2048)
    calls = clock(product=rate, convolution=rate)
    measure_peak(torch.float32)
    for name in ('product', 'convolution'):
        sides = [size for called, size in calls if called == name]
        assert max(sides) == sides[-1] == side and min(sides) == 256
        assert sides.count(side) > sum(size < side for size in sides) / 2  # warm-up, then several


def test_peak_of_this_machine_is_measured_for_each_dtype_once(monkeypatch):
    monkeypatch.setattr(module, 'MAX_SIDE', 256)
    monkeypatch.setattr(module, 'BUDGET', 0)
    machine = describe_machine(('float32', 'float32', 'bfloat16'), 'cpu')
    assert list(machine['peak_gflops']) == ['float32', 'bfloat16'] and min(machine['peak_gflops'].values()) > 0
    assert machine['processor'] == processor_name() and machine['threads'] == torch.get_num_threads()


def test_lines_name_processor_choices_and_peaks():
    with cpu_libraries('blas', 'float32'):
        machine = describe_machine((), 'cpu')
        assert machine['choices'] == {ENV_FLOAT32: 'blas', ENV_BFLOAT16: 'float32'}
        machine['peak_gflops'] = dict(float32=123.4, bfloat16=567.8)
        lines = format_machine(machine).splitlines()
    assert lines[0] == f'{processor_name()}, torch {torch.__version__}'
    assert f'{ENV_FLOAT32}=blas, {ENV_BFLOAT16}=float32' in lines[1]
    assert lines[2] == 'peak of matrix products: 123 GFLOP/s in float32, 568 GFLOP/s in bfloat16'
    assert len(format_machine({**machine, 'peak_gflops': {}}).splitlines()) == 2


def test_name_of_a_gpu_comes_first(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda device: f'NVIDIA {device}')
    machine = describe_machine((), 'cuda:1')
    assert format_machine(machine).startswith(f'NVIDIA cuda:1, {processor_name()}, torch ')
