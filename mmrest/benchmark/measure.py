"""Measurement of times, with models taking turns, and of peak memory, each in a new process."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from typing import Callable, Sequence

import torch

from ..engine.errors import UsageError
from .machine import time_call
from .models import parse_model

MEGABYTE = 2**20
# Environment in which malloc returns freed memory at once, so that the resident set of a process holds what is in use
# and no cache; it costs time.
LEAN_MALLOC = dict(MALLOC_MMAP_THRESHOLD_='65536', MALLOC_TRIM_THRESHOLD_='65536')


def compare_times(steps: Sequence[Callable[[bool], None]], train: bool, rounds: int, device: str = 'cpu') -> list[dict]:
    """Time steps in turn (A B C A B C ...), so that a machine that slows down does so for all of them.

    Args:
        steps (Sequence[Callable]): From :meth:`BenchmarkModel.build`.
        train (bool): Time a training step (forward and backward pass) instead of a forward pass in eval mode.
        rounds (int): Number of timed rounds, after a warm-up round.
        device (str): Device of the models, as torch names it.

    Returns:
        list[dict]: For each step ``seconds``, a list with one time per round; ``median``, that of ``seconds``;
        ``speedup``, the median over rounds of the first step's time divided by this step's; and
        ``speedup_quartiles``, the first and third quartile of these ratios.
    """
    seconds = [[] for _ in steps]
    for i in range(rounds + 1):
        for times, step in zip(seconds, steps):
            elapsed = time_call(lambda step=step: step(train), device)
            if i:
                times.append(elapsed)
    results = []
    for times in seconds:
        ratios = [first / own for first, own in zip(seconds[0], times)]
        quartiles = statistics.quantiles(ratios, n=4) if rounds > 1 else [ratios[0]] * 3
        results.append(
            dict(
                seconds=times,
                median=statistics.median(times),
                speedup=statistics.median(ratios),
                speedup_quartiles=(quartiles[0], quartiles[2]),
            )
        )
    return results


def peak_memory(
    text: str, train: bool, limit_gb: float | None = None, process: bool = True, timeout: float = 1200, **settings
) -> dict:
    """Measure the peak memory of a step, less parameters and images, in a new process.

    Args:
        text (str): Model, as :func:`parse_model` takes it.
        train (bool): Measure a training step instead of a forward pass.
        limit_gb (float, optional): Limit of the memory of the process in GiB, on a CPU only.
        process (bool): Measure the resident set too, which takes a second run of the step.
        timeout (float): Seconds after which the process is killed.
        **settings: Arguments of :meth:`BenchmarkModel.build`.

    Returns:
        dict: ``tensor_mb``, the peak of torch's allocations in MiB, and on a CPU ``process_mb``, the growth of the
        resident set to its peak; or ``failed``, 'out of memory' or 'timeout'.

    Raises:
        UsageError: The process failed in another way.
    """
    job = json.dumps(dict(text=text, train=train, limit_gb=limit_gb, process=process, settings=settings))
    command = [sys.executable, '-m', 'mmrest.benchmark.measure', job]
    env = {**os.environ, **LEAN_MALLOC}
    try:
        result = subprocess.run(
            command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout
        )
    except subprocess.TimeoutExpired:
        return dict(failed='timeout')
    if result.returncode == 0:
        return json.loads(result.stdout.splitlines()[-1])
    out_of_memory = ("can't allocate memory", 'bad_alloc', 'out of memory', 'MemoryError', 'could not create a memory')
    if result.returncode == -9 or any(words in result.stderr for words in out_of_memory):
        return dict(failed='out of memory')
    raise UsageError(f'Measuring the memory of {text} failed:\n{result.stderr[-1500:]}')


def _measure_in_process(text: str, train: bool, limit_gb: float | None, process: bool, settings: dict) -> dict:
    device = settings.get('device', 'cpu')
    model = parse_model(text)
    # Warm-up at a small size: what libraries allocate on first use does not belong to the step.
    model.build(**{**settings, 'shape': (64, 64), 'batch': 1})(train)
    if limit_gb is not None:
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (int(limit_gb * 2**30),) * 2)
    step = model.build(**settings)
    if device.startswith('cuda'):
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        step(train)
        return dict(tensor_mb=(torch.cuda.max_memory_allocated(device) - before) / MEGABYTE)
    result = {}
    if process:
        (result['process_mb'],) = resident_growth(lambda: step(train))
        del step  # with the gradients that it left
        step = model.build(**settings)
    return dict(tensor_mb=_allocated(step, train) / MEGABYTE, **result)


def _allocated(step: Callable[[bool], None], train: bool) -> int:
    """Return the peak of the allocated bytes less the freed ones that torch's profiler records during a step."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step(train)
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == '[memory]']
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


def resident_growth(*functions: Callable[[], object]) -> list[float]:
    """Call functions, and measure the peak of the resident set of this process (Linux only).

    Returns:
        list[float]: After each function, by how many MiB the peak exceeds what was resident before the first.
    """
    with open('/proc/self/clear_refs', 'w') as file:
        file.write('5')  # resets the high-water mark
    before, peaks = _status('VmRSS'), []
    for function in functions:
        function()
        peaks.append((_status('VmHWM') - before) / 1024)
    return peaks


def _status(key: str) -> int:
    with open('/proc/self/status') as file:
        return next(int(line.split()[1]) for line in file if line.startswith(key + ':'))


if __name__ == '__main__':
    print(json.dumps(_measure_in_process(**json.loads(sys.argv[1]))))
