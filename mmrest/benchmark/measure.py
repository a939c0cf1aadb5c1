"""Times in turn, and peak memory in a process of its own."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from typing import Callable, Sequence

import torch

from ..engine.errors import UsageError
from .models import parse_model

MEGABYTE = 2**20


def compare_times(steps: Sequence[Callable[[bool], None]], train: bool, rounds: int, device: str = 'cpu') -> list[dict]:
    """Time steps in turn (A B C A B C ...), so that a machine that slows down does so for all.

    Args:
        steps (Sequence[Callable]): As :meth:`BenchmarkModel.build` returns them.
        train (bool): A training step (forward and backward pass) rather than a forward pass in eval mode.
        rounds (int): How often, after one that does not count.
        device (str): Where they run.

    Returns:
        list[dict]: For each: ``seconds``, one a round; their ``median``; and of the first one's time
        divided by this one's, in the same round, the median ``speedup`` and the quartiles ``speedup_quartiles``.
    """
    seconds = [[] for _ in steps]
    for i in range(rounds + 1):
        for times, step in zip(seconds, steps):
            _wait(device)
            start = time.perf_counter()
            step(train)
            _wait(device)
            if i:
                times.append(time.perf_counter() - start)
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


def _wait(device: str) -> None:
    if device.startswith('cuda'):
        torch.cuda.synchronize(device)


def peak_memory(
    text: str, train: bool, limit_gb: float | None = None, process: bool = True, timeout: float = 1200, **settings
) -> dict:
    """Peak memory of a step beyond parameters and image, measured in a fresh process.

    Args:
        text (str): A model, as :func:`parse_model` takes it.
        train (bool): A training step rather than a forward pass.
        limit_gb (float, optional): Memory that the process may have in all, on a CPU; running out is reported.
        process (bool): Measure the resident set too, which takes another run of the step.
        timeout (float): Seconds after which the process is given up.
        **settings: Arguments of :meth:`BenchmarkModel.build`.

    Returns:
        dict: ``tensor_mb``: peak of what torch's allocator had handed out; ``process_mb``: growth of the process's
        resident set to its peak (CPU only). Or ``failed``: 'out of memory' or 'timeout'.
    """
    job = json.dumps(dict(text=text, train=train, limit_gb=limit_gb, process=process, settings=settings))
    command = [sys.executable, '-m', 'mmrest.benchmark.measure', job]
    # Freed memory goes back at once, so that the resident set says what is needed rather than what was kept.
    env = dict(os.environ, MALLOC_MMAP_THRESHOLD_='65536', MALLOC_TRIM_THRESHOLD_='65536')
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


def _measure_here(text: str, train: bool, limit_gb: float | None, process: bool, settings: dict) -> dict:
    device = settings.get('device', 'cpu')
    model = parse_model(text)
    # Once at a small size: what libraries set up on first use is not the step's.
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
        before = _reset_peak()
        step(train)
        result['process_mb'] = (_status('VmHWM') - before) / 1024
        del step  # with the gradients that it left
        step = model.build(**settings)
    return dict(tensor_mb=_allocated(step, train) / MEGABYTE, **result)


def _allocated(step: Callable[[bool], None], train: bool) -> int:
    """Bytes: the highest sum of allocations less frees that torch's profiler saw during a step."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step(train)
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == '[memory]']
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


def _reset_peak() -> int:
    """Start a new high-water mark of the resident set; what it is now, in kB."""
    with open('/proc/self/clear_refs', 'w') as file:
        file.write('5')
    return _status('VmRSS')


def _status(key: str) -> int:
    with open('/proc/self/status') as file:
        return next(int(line.split()[1]) for line in file if line.startswith(key + ':'))


if __name__ == '__main__':
    print(json.dumps(_measure_here(**json.loads(sys.argv[1]))))
