"""Number of CPU cores available to this process."""

from __future__ import annotations

import math
import os
from pathlib import Path


def available_cores(root: str | Path = '/') -> int:
    """Return the number of cores allowed by CPU affinity (taskset, Slurm) and by cgroup quotas (docker --cpus).

    Args:
        root (str | Path): Folder where ``proc`` and ``sys`` are mounted.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    return max(1, min(cores, math.ceil(_find_quota(Path(root)) or cores)))


def _find_quota(root: Path) -> float | None:
    """Return the lowest CPU quota of the cgroups of this process, in cores; None without a quota."""
    quotas = []
    for line in _read(root / 'proc/self/cgroup').splitlines():
        _, controllers, group = line.split(':', 2)
        base = root / 'sys/fs/cgroup'
        if controllers and 'cpu' not in controllers.split(','):
            continue
        # In a container, the path of the cgroup may not exist, since its own cgroup is mounted as the root.
        folder = base / ('cpu' if controllers else '') / group.strip('/')
        for place in (folder, *folder.parents):
            if not place.is_relative_to(base):
                break
            numbers = (
                _read(place / 'cpu.max').split()
                if not controllers
                else [_read(place / f'cpu.cfs_{name}_us').strip() for name in ('quota', 'period')]
            )
            if len(numbers) == 2 and all(number.isdigit() for number in numbers) and int(numbers[1]):
                quotas.append(int(numbers[0]) / int(numbers[1]))
    return min(quotas, default=None)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ''
