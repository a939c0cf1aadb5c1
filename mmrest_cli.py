"""Start mmrest's commands and tools: this runs before torch is loaded, and needs the standard library only.

OpenMP reads how its threads wait, and torch how it allocates, once, from the environment. :func:`prepare_process` sets
what the machine asks for, except what the user has set.
"""

from __future__ import annotations

import importlib
import os
import runpy
import select
import sys
import time
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, MutableMapping

# What a user may have set to say how idle threads wait.
WAITING = ('OMP_WAIT_POLICY', 'GOMP_SPINCOUNT', 'KMP_BLOCKTIME')
HUGE_PAGES = Path('/sys/kernel/mm/transparent_hugepage/enabled')
# Seconds in which the load of the machine is measured.
INTERVAL = 0.1
# Cores that other processes may use before threads count as disturbed: the system itself is never quite idle.
TOLERANCE = 0.5


def main() -> int | None:
    """Run ``mmrest/__main__.py``, which lies beside this file, and return the exit status."""
    names = runpy.run_path(str(Path(__file__).resolve().with_name('mmrest') / '__main__.py'))
    if sys.argv[1:] and sys.argv[1] in set(names['COMMANDS']) - set(names['STANDARD_LIBRARY']):
        _prepare()
    with end_with_the_reader():
        return names['main']()


def run_tool(name: str) -> None:
    """Run a command of :mod:`mmrest.commands` with the arguments of the process."""
    _prepare()
    with end_with_the_reader():
        importlib.import_module(f'mmrest.commands.{name}').main()


@contextmanager
def end_with_the_reader() -> Iterator[None]:
    """End without a traceback where the reader of the output has ended, such as ``head``."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        if not _has_lost_its_reader(sys.stdout.fileno()):  # another pipe broke, such as that of a worker process
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more when it ends
        sys.exit(1)


def _has_lost_its_reader(pipe: int) -> bool:
    if not hasattr(select, 'poll'):  # Windows
        return False
    poller = select.poll()
    poller.register(pipe, select.POLLOUT)
    return any(event & select.POLLERR for _, event in poller.poll(0))


def _prepare() -> None:
    """Prepare the process for a command that imports torch and mmengine."""
    if not sys.warnoptions:  # the user has not asked for warnings
        # mmengine imports pkg_resources, which warns twice; the extras pin a setuptools that has it.
        warnings.filterwarnings('ignore', 'pkg_resources is deprecated', UserWarning)
    if not {'-h', '--help'} & set(sys.argv[1:]):
        prepare_process(os.environ)


def prepare_process(environ: MutableMapping[str, str]) -> None:
    """Set threads and memory pages for the machine at hand; say so where threads are changed.

    * ``OMP_NUM_THREADS``: the quota of cores, where a container has fewer than it sees.
    * ``OMP_WAIT_POLICY=PASSIVE``, where other processes use the cores: idle threads then sleep. By default they spin,
      which is faster on a quiet machine, and several times slower where another process waits for the core.
    * ``THP_MEM_ALLOC_ENABLE=1``, where the kernel has huge pages on demand: torch asks for them, which saves most page
      faults of a training step.

    Args:
        environ (MutableMapping): The environment; what it holds already is kept. Nothing is done on other systems
            than Linux or once torch is loaded.
    """
    if not sys.platform.startswith('linux') or 'torch' in sys.modules:
        return
    if 'THP_MEM_ALLOC_ENABLE' not in environ and '[never]' not in _read(HUGE_PAGES):
        environ['THP_MEM_ALLOC_ENABLE'] = '1'
    cores = os.sched_getaffinity(0)
    threads = environ.get('OMP_NUM_THREADS', '').partition(',')[0]
    quota = read_quota()
    if not threads.isdigit():
        threads = str(max(1, min(len(cores), int(quota))) if quota else len(cores))
        if int(threads) < len(cores):
            environ['OMP_NUM_THREADS'] = threads
            _say(f'OMP_NUM_THREADS={threads}, as this process may use {quota:g} of {len(cores)} cores')
    if int(threads) < 2 or any(name in environ for name in WAITING):
        return
    used = measure_load(cores)
    if used is not None and len(cores) - used + TOLERANCE < int(threads):
        environ['OMP_WAIT_POLICY'] = 'PASSIVE'
        _say(f'OMP_WAIT_POLICY=PASSIVE, as other processes use {used:.1f} of {len(cores)} cores')


def read_quota(root: Path = Path('/sys/fs/cgroup'), own: Path = Path('/proc/self/cgroup')) -> float | None:
    """Return the cores that the control group of this process may use, or None without a limit.

    Args:
        root (Path): Where control groups are mounted, version 1 or 2.
        own (Path): File with the group of this process.
    """
    quotas = []
    for line in _read(own).splitlines():
        if line.startswith('0::'):  # of version 2, where each of the groups around this one may have a limit
            group = root / line[3:].strip('/')
            groups = [group, *(folder for folder in group.parents if root in (folder, *folder.parents))]
            quotas += [_read(folder / 'cpu.max').split() for folder in groups]
    # Version 1, in a container, which sees its own group as the root.
    quotas.append([_read(root / 'cpu' / f'cpu.cfs_{name}_us').strip() for name in ('quota', 'period')])
    limits = [int(a) / int(b) for a, b in (q for q in quotas if len(q) == 2) if a.isdigit() and b.isdigit() and int(b)]
    return min(limits, default=None)


def measure_load(cores: set[int], interval: float = INTERVAL, source: Path = Path('/proc/stat')) -> float | None:
    """Return how many of some cores are in use while this process sleeps, or None where that cannot be read."""
    before = _read_ticks(cores, source)
    time.sleep(interval)
    after = _read_ticks(cores, source)
    total, idle = (b - a for a, b in zip(before, after))
    return len(cores) * (1 - idle / total) if total > 0 else None


def _read_ticks(cores: set[int], source: Path) -> tuple[int, int]:
    """Return the ticks that cores have spent so far, and those in which they were idle or waited for a disk."""
    total = idle = 0
    for line in _read(source).splitlines():
        name, _, rest = line.partition(' ')
        if name[:3] == 'cpu' and name[3:].isdigit() and int(name[3:]) in cores:
            ticks = [int(x) for x in rest.split()[:8]]  # guests are counted as user time already
            total, idle = total + sum(ticks), idle + sum(ticks[3:5])
    return total, idle


def _read(path: Path) -> str:
    """Return the text of a file, or '' where there is none: what the system does not say is taken as normal."""
    try:
        return path.read_text()
    except OSError:
        return ''


def _say(text: str) -> None:
    print(f'mmrest: set for this run, nothing to do: {text}', file=sys.stderr)


if __name__ == '__main__':
    sys.exit(main())
