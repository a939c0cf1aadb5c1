"""Progress of long tasks on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TextIO, TypeVar

T = TypeVar('T')

# Function from a task, its total and the unit of the total to a context manager that gives a counter of done steps.
Progress = Callable[[str, int, str], AbstractContextManager[Callable[[int], None]]]

# Seconds until the first line, and between lines.
FIRST, INTERVAL = 0.5, 5.0


@contextmanager
def no_progress(task: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Show nothing."""
    yield lambda steps: None


@contextmanager
def show_progress(task: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on a terminal, and elsewhere a line every few seconds, with the remaining time.

    Args:
        task (str): Name of the task, e.g. 'reading train.json'.
        total (int): Number of steps.
        unit (str): Unit of ``total``, e.g. 'images'; 'MB' if ``total`` is in bytes.
    """
    if not sys.stderr.isatty():
        lines = _Lines(task, total, unit, sys.stderr)
        yield lines.advance
        lines.finish()
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = [DownloadColumn()] if unit == 'MB' else [MofNCompleteColumn(), TextColumn(unit)]
    with Progress(
        TextColumn('{task.description}'), BarColumn(), *columns, TimeRemainingColumn(), console=Console(file=sys.stderr)
    ) as bar:
        number = bar.add_task(task, total=total)
        yield lambda steps: bar.advance(number, steps)


class _Lines:
    """Lines on the progress of a task, which stay away if it takes less than half a second.

    They stand in for the bar of rich, which prints nothing until the end where there is no terminal.
    """

    def __init__(self, task: str, total: int, unit: str, stream: TextIO) -> None:
        self.task, self.total, self.unit, self.stream = task, total, unit, stream
        self.done, self.start = 0, time.monotonic()
        self.last: float | None = None

    def advance(self, steps: int) -> None:
        self.done += steps
        now = time.monotonic()
        if now - self.start > FIRST if self.last is None else now - self.last > INTERVAL:
            self.last = now
            left = (now - self.start) * (self.total - self.done) / max(self.done, 1)
            self._print(f'about {format_seconds(left)} left')

    def finish(self) -> None:
        if self.last is not None:
            self._print(f'{format_seconds(time.monotonic() - self.start)}')

    def _print(self, remark: str) -> None:
        scale, digits = (1e6, 1) if self.unit == 'MB' else (1, 0)
        print(
            f'{self.task}: {self.done / scale:,.{digits}f} of {self.total / scale:,.{digits}f} {self.unit}, {remark}',
            file=self.stream,
            flush=True,
        )


def format_seconds(seconds: float) -> str:
    """Format a duration, e.g. '8 s', '2 min 5 s' or '1 h 3 min'."""
    seconds = round(seconds)
    if seconds < 60:
        return f'{seconds} s'
    minutes, seconds = divmod(seconds, 60)
    return f'{minutes} min {seconds} s' if minutes < 60 else f'{minutes // 60} h {minutes % 60} min'


def track(items: Sequence[T], task: str, unit: str = 'images') -> Iterator[T]:
    """Iterate over items and show progress.

    Args:
        items (Sequence): Items to iterate over.
        task (str): Name of the task, e.g. 'painting'.
        unit (str): Unit of the items.
    """
    with show_progress(task, len(items), unit) as advance:
        for item in items:
            yield item
            advance(1)
