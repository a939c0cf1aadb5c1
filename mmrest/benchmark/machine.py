"""The machine of a benchmark: its name, its choices, and how fast it multiplies matrices."""

from __future__ import annotations

import platform
import time
from typing import Any, Callable, Sequence

import torch
from torch import Tensor

from ..ops.linear import linear_as_conv
from ..ops.processor import current_choices, describe_choices, processor_name

MIN_SIDE, MAX_SIDE = 256, 8192  # of the matrices
LONG = 0.02  # seconds that a product takes at least, where the matrices are not the largest
BUDGET = 0.2  # seconds in which a product is repeated


def describe_machine(dtypes: Sequence[str], device: str) -> dict[str, Any]:
    """Measure the peak of matrix products, and return it with names, versions and choices.

    Args:
        dtypes (Sequence[str]): Names of dtypes, as attributes of torch.
        device (str): Device, as torch names it.

    Returns:
        dict[str, Any]: ``machine``, ``processor``, ``torch``, ``threads``, on a GPU its name as ``gpu``, ``choices``
        by name of the environment variable, and ``peak_gflops`` by dtype.
    """
    gpu = dict(gpu=torch.cuda.get_device_name(device)) if device.startswith('cuda') else {}
    return dict(
        machine=platform.machine(),
        processor=processor_name(),
        **gpu,
        torch=torch.__version__,
        threads=torch.get_num_threads(),
        choices=current_choices(),
        peak_gflops={name: measure_peak(getattr(torch, name), device) for name in dict.fromkeys(dtypes)},
    )


def format_machine(machine: dict[str, Any]) -> str:
    """Return what :func:`describe_machine` found, as lines to print."""
    names = ', '.join(machine[key] for key in ('gpu', 'processor') if key in machine)
    lines = [f'{names}, torch {machine["torch"]}', describe_choices()]
    peaks = ', '.join(f'{value:.0f} GFLOP/s in {name}' for name, value in machine['peak_gflops'].items())
    return '\n'.join([*lines, f'peak of matrix products: {peaks}'] if peaks else lines)


def measure_peak(dtype: torch.dtype, device: str = 'cpu') -> float:
    """Measure how fast large square matrices are multiplied, in GFLOP/s, with the threads of torch.

    Args:
        dtype (torch.dtype): Of the matrices.
        device (str): Device, as torch names it. On a CPU in float32 and bfloat16, a 1x1 convolution is tried too, and
            the faster one counts: PyTorch computes it with another library.
    """
    products = [torch.mm]
    if device == 'cpu' and dtype in (torch.float32, torch.bfloat16):
        products.append(linear_as_conv)
    with torch.no_grad():
        return max(_rate(product, dtype, device) for product in products)


def _rate(product: Callable[[Tensor, Tensor], Tensor], dtype: torch.dtype, device: str) -> float:
    """Return the GFLOP/s of a product, at a size that takes it long enough."""
    side = MIN_SIDE
    while True:
        a, b = (torch.rand(side, side, device=device).to(dtype) for _ in range(2))
        product(a, b)  # warm-up
        seconds = time_call(lambda a=a, b=b: product(a, b), device)
        if seconds >= LONG or side == MAX_SIDE:
            break
        side *= 2
    end = time.perf_counter() + BUDGET
    while time.perf_counter() < end:
        seconds = min(seconds, time_call(lambda: product(a, b), device))
    return 2 * side**3 / seconds / 1e9


def time_call(call: Callable[[], object], device: str) -> float:
    """Return the seconds that a call takes, on a GPU until it is done."""
    _wait(device)
    start = time.perf_counter()
    call()
    _wait(device)
    return time.perf_counter() - start


def _wait(device: str) -> None:
    if device.startswith('cuda'):
        torch.cuda.synchronize(device)
