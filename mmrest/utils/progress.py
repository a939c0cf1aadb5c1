"""Progress display on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TextIO, TypeVar

T = TypeVar('T')

# Called with task, total and unit ('MB' if the total is in bytes); the context manager returns a function that advances
# the progress by a number of steps.
Progress = Callable[[str, int, str], AbstractContextManager[Callable[[int], None]]]

DELAY, INTERVAL = 0.5, 5.0  # seconds before the first line, and between lines


@contextmanager
def no_progress(task: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Display no progress; same interface as :func:`show_progress`."""
    yield lambda steps: None


@contextmanager
def show_progress(task: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Display progress and remaining time: a bar on a terminal, otherwise a line every few seconds.

    Args:
        task (str): Description, e.g. 'reading train.json'.
        total (int): Number of steps.
        unit (str): Unit of ``total``, e.g. 'images'; 'MB' if it is in bytes.

    Yields:
        Callable: Function that advances the progress by a number of steps.
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
    """Progress as lines of text, as rich prints nothing before the end without a terminal; none for short tasks."""

    def __init__(self, task: str, total: int, unit: str, stream: TextIO) -> None:
        self.task, self.total, self.unit, self.stream = task, total, unit, stream
        self.done, self.start = 0, time.monotonic()
        self.last_line: float | None = None

    def advance(self, steps: int) -> None:
        self.done += steps
        now = time.monotonic()
        if now - self.start > DELAY if self.last_line is None else now - self.last_line > INTERVAL:
            self.last_line = now
            left = (now - self.start) * (self.total - self.done) / max(self.done, 1)
            self._print(f'about {format_seconds(left)} left')

    def finish(self) -> None:
        if self.last_line is not None:
            self._print(f'{format_seconds(time.monotonic() - self.start)}')

    def _print(self, note: str) -> None:
        scale, digits = (1e6, 1) if self.unit == 'MB' else (1, 0)
        print(
            f'{self.task}: {self.done / scale:,.{digits}f} of {self.total / scale:,.{digits}f} {self.unit}, {note}',
            file=self.stream,
            flush=True,
        )


def format_seconds(seconds: float) -> str:
    """Format a duration: '8 s', '2 min 5 s', '1 h 3 min'."""
    seconds = round(seconds)
    if seconds < 60:
        return f'{seconds} s'
    minutes, seconds = divmod(seconds, 60)
    return f'{minutes} min {seconds} s' if minutes < 60 else f'{minutes // 60} h {minutes % 60} min'


def track(items: Sequence[T], task: str, unit: str = 'images') -> Iterator[T]:
    """Iterate over items with a progress display.

    Args:
        items (Sequence): Items to iterate over.
        task (str): Description, e.g. 'drawing'.
        unit (str): Unit of the items.
    """
    with show_progress(task, len(items), unit) as advance:
        for item in items:
            yield item
            advance(1)
