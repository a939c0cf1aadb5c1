"""Times in turn, by CUDA events, peak memory, and the bytes that a step moves."""

from __future__ import annotations

import gc
import statistics
import time
from typing import Any, Callable

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from .cases import first_line, is_lost

Step = Callable[[], object]
INTERVAL = 0.002  # seconds between two events at least: a shorter step is repeated
MAX_REPEATS, MIN_ROUNDS, MAX_ROUNDS = 20, 3, 9


def seconds_of(step: Step, device: str, repeats: int = 1) -> float:
    """Time a step, the mean of several in a row."""
    if not device.startswith('cuda'):
        start = time.perf_counter()
        for _ in range(repeats):
            step()
        return (time.perf_counter() - start) / repeats
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize(device)
    start.record()
    for _ in range(repeats):
        step()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3 / repeats


def peak_of(step: Step, device: str) -> float | None:
    """Run a step and return the peak of what torch's allocator handed out for it, in MB; None on a CPU."""
    if not device.startswith('cuda'):
        step()
        return None
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    step()
    torch.cuda.synchronize(device)
    return (torch.cuda.max_memory_allocated(device) - before) / 2**20


def measure(builders: dict[str, Callable[[], Step]], seconds: float, device: str) -> dict[str, dict]:
    """Measure steps in turn (A B C A B C ...), so that a machine that slows down does so for all.

    Args:
        builders (dict[str, Callable]): Each builds a step; one that cannot be built or run is left out of the turns.
        seconds (float): For all turns together, more or less.
        device (str): Where they run.

    Returns:
        dict[str, dict]: ``ms``, the median; ``all_ms``, one a round; ``mb``, peak memory, None on a CPU. Or ``failed``,
        why there is nothing.
    """
    results: dict[str, dict] = {}
    steps: dict[str, tuple[Step, float]] = {}
    for name, build in builders.items():
        try:
            step = build()
            step()  # what libraries set up on first use is not the step's
            results[name] = dict(mb=peak_of(step, device))
            steps[name] = step, seconds_of(step, device)
        except torch.OutOfMemoryError:
            results[name] = dict(failed='out of memory')
        except Exception as error:
            if is_lost(device):
                raise
            results[name] = dict(failed=first_line(error))
        if 'failed' in results[name] and device.startswith('cuda'):
            step = None  # with what it holds
            gc.collect()
            torch.cuda.empty_cache()
    rounds, most = 1, 1  # on a CPU nobody reads the times
    if device.startswith('cuda'):
        whole = sum(max(estimate, INTERVAL) for _, estimate in steps.values())
        rounds, most = min(max(int(seconds / max(whole, INTERVAL)), MIN_ROUNDS), MAX_ROUNDS), MAX_REPEATS
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, (step, estimate) in steps.items():
            repeats = min(max(round(INTERVAL / max(estimate, 1e-9)), 1), most)
            times[name].append(1e3 * seconds_of(step, device, repeats))
    for name, values in times.items():
        results[name].update(ms=statistics.median(values), all_ms=values)
    return results


def add_ratios(results: dict[str, dict], first: str, names: list[str]) -> None:
    """Add ``speedup``, the median over rounds of the first one's time by each one's, and ``memory``, likewise."""
    if 'all_ms' not in results.get(first, {}):
        return
    base = results[first]
    for name in names:
        row = results.get(name, {})
        if 'all_ms' in row:
            row['speedup'] = statistics.median(a / b for a, b in zip(base['all_ms'], row['all_ms']))
            if row['mb'] and base['mb']:
                row['memory'] = row['mb'] / base['mb']


class Traffic(TorchDispatchMode):
    """Counts the bytes of what operators read and write; views move nothing, and a custom operator is one operator."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not moves_nothing(func):
            for x in tree_leaves((args, kwargs, out)):
                self.bytes += x.numel() * x.element_size() if isinstance(x, torch.Tensor) else 0
        return out


def moves_nothing(func: Any) -> bool:
    """Tell whether an operator returns views, or memory that it has not written."""
    if func.namespace == 'aten' and func._schema.name.split('::')[1].startswith(('empty', 'new_empty')):
        return True
    aliases = [result.alias_info for result in func._schema.returns]
    return bool(aliases) and all(alias is not None and not alias.is_write for alias in aliases)


def count(step: Step) -> dict[str, float]:
    """Run a step and return its ``flops``, those of custom operators left out, and ``bytes``, see :class:`Traffic`."""
    with FlopCounterMode(display=False) as flops, Traffic() as traffic:
        step()
    return dict(flops=float(flops.get_total_flops()), bytes=float(traffic.bytes))
