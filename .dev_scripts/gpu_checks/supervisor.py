"""Parts of the check, each in processes of its own, so that no fault of one reaches another."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from .results import DEVICE_LOST, FAILED, OUT_OF_TIME, RUNNING, SKIPPED, Settings, read_results, write_results
from .wheels import ROOT

SCRIPTS = ROOT / '.dev_scripts'


@dataclass(frozen=True)
class Part:
    """A part of the check.

    Attributes:
        title (str): Name in the table.
        module (str): Module with its cases.
        budget (float): Seconds.
        quick_budget (float, optional): Seconds with ``--quick``; None: left out there.
    """

    title: str
    module: str
    budget: float
    quick_budget: float | None


PARTS = {
    1: Part('parity', 'gpu_checks.parity', 55, 55),
    2: Part('speed', 'gpu_checks.speed', 135, 110),
    3: Part('training', 'gpu_checks.training', 110, None),
    4: Part('largest image', 'gpu_checks.limits', 35, None),
}
# Seconds of the whole command. A process that is told to end is given a few.
TOTAL, QUICK_TOTAL = 350, 175
MARGIN = 3
DRY_TOTAL = 600  # of a dry run, for each of its parts too: a CPU may be slow, and busy
STARTS = 6  # of processes, for one part
START_SECONDS = 12  # less than that is not worth another start
POLL = 0.1


class Supervisor:
    """Runs the parts and keeps the file of results up to date.

    Args:
        settings (Settings): For all parts.
        out (Path): File of results.
        started (float): When the command began, as ``time.time()`` gives it.
        worker (str): Module that a process runs.
        **more: Written into the file beside the parts.
    """

    def __init__(
        self, settings: Settings, out: Path, started: float, worker: str = 'gpu_checks.worker', **more: object
    ) -> None:
        self.settings, self.out = settings, out
        self.deadline = started + (DRY_TOTAL if settings.dry else QUICK_TOTAL if settings.quick else TOTAL)
        self.worker = worker
        self.lock = threading.Lock()
        self.state: dict = dict(more, machine=None, parts={})

    def run(self, numbers: list[int]) -> dict:
        """Run the parts in order, at the same time if they are dry, and return all results."""
        budgets = {number: self._budget(number) for number in numbers}
        # Parts that are left out leave their time to the others.
        self.share = max((self.deadline - time.time() - MARGIN) / sum(budgets.values()), 0.1)
        with ThreadPoolExecutor(len(numbers) if self.settings.dry else 1) as pool:
            list(pool.map(self.run_part, numbers))
        return self.state

    def _budget(self, number: int) -> float:
        part = PARTS[number]
        return DRY_TOTAL if self.settings.dry else part.quick_budget if self.settings.quick else part.budget

    def run_part(self, number: int) -> None:
        """Run a part in one process or, where a case ends that, in several."""
        part, start = PARTS[number], time.time()
        budget = self.share * self._budget(number)
        state = dict(title=part.title, budget=round(budget), seconds=0.0, rows=[])
        self.state['parts'][str(number)] = state
        deadline = min(start + budget, self.deadline)
        path = Path(self.settings.folder) / f'part{number}.json'
        for _ in range(STARTS):
            status = self._run_process(number, path, deadline, state, start)
            content = read_results(path)
            rows, late = content['rows'], time.time() > deadline
            if rows and rows[-1]['status'] == RUNNING:
                rows[-1] = ended(rows[-1], status, time.time(), deadline)
                write_results(path, content)  # the next process goes on after this case
            elif late:
                rows.append(dict(case='the others', status=SKIPPED, summary=OUT_OF_TIME))
            elif status not in (0, DEVICE_LOST):
                log = path.with_suffix('.log').read_text(encoding='utf-8', errors='replace')
                rows.append(dict(case='the others', status=FAILED, summary=last_line(log), log=log[-3000:]))
                late = True
            state.update(rows=rows, seconds=time.time() - start)
            if status == 0 or late or deadline - time.time() < START_SECONDS:
                break
        self.save()

    def _run_process(self, number: int, path: Path, deadline: float, state: dict, start: float) -> int:
        """Run a process to its end, or end it; return its exit status."""
        job = dict(
            settings=asdict(self.settings),
            module=PARTS[number].module,
            path=str(path),
            deadline=deadline,
            describe=self.state['machine'] is None,
        )
        command = [sys.executable, '-W', 'ignore', '-m', self.worker, json.dumps(job)]
        with path.with_suffix('.log').open('ab') as log:
            process = subprocess.Popen(
                command,
                cwd=self.settings.folder,
                env=environment(self.settings),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                self._follow(process, path, deadline, state, start)
            finally:
                end_process(process)
        return process.returncode

    def _follow(self, process: subprocess.Popen, path: Path, deadline: float, state: dict, start: float) -> None:
        """Keep the results up to date until a process ends or takes too long."""
        seen = None
        while process.poll() is None:
            time.sleep(POLL)
            changed = path.stat().st_mtime_ns if path.is_file() else None
            if changed != seen:
                seen, content = changed, read_results(path)
                state.update(rows=content['rows'], seconds=time.time() - start)
                self.state['machine'] = self.state['machine'] or content.get('machine')
                self.save()
            if is_overdue(state['rows'], time.time(), deadline):
                break

    def save(self, **more: object) -> None:
        """Write the file of results, with more in it."""
        with self.lock:
            self.state.update(more)
            write_results(self.out, self.state)


def environment(settings: Settings) -> dict[str, str]:
    """Return the environment of the processes: it finds mmrest, the wheels and this package."""
    paths = [str(ROOT), str(SCRIPTS), *(path for path in sys.path if path.startswith(settings.folder))]
    if os.environ.get('PYTHONPATH'):
        paths.append(os.environ['PYTHONPATH'])
    threads = dict(OMP_NUM_THREADS='1') if settings.dry else {}  # dry parts run side by side
    return {**os.environ, **threads, 'PYTHONPATH': os.pathsep.join(paths), 'PYTHONUNBUFFERED': '1'}


def is_overdue(rows: list[dict], now: float, deadline: float) -> bool:
    """Tell whether a case takes longer than it may, or the part longer than its budget."""
    running = rows and rows[-1]['status'] == RUNNING
    return now > deadline or bool(running) and now - rows[-1]['started'] > rows[-1]['limit']


def ended(row: dict, status: int, now: float, deadline: float) -> dict:
    """Return the result of a case whose process ended before it."""
    seconds = now - row['started']
    result = dict(case=row['case'], seconds=seconds)
    if seconds > row['limit']:
        return dict(result, status=FAILED, summary=f'given up after {seconds:.0f} s')
    if now > deadline:
        return dict(result, status=SKIPPED, summary=f'{OUT_OF_TIME} after {seconds:.0f} s')
    how = f'by {signal.Signals(-status).name}' if status < 0 else f'with status {status}'
    return dict(result, status=FAILED, summary=f'its process ended {how}')


def end_process(process: subprocess.Popen) -> None:
    """End a process, and those that it has started even where it has ended itself."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def last_line(text: str) -> str:
    """Return the last line of a text that is not empty."""
    return next((line.strip()[:300] for line in reversed(text.splitlines()) if line.strip()), 'it printed nothing')
