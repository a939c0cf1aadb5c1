"""Progress of long work on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TextIO, TypeVar

T = TypeVar('T')

# Called with the task, its total and the unit of the total ('MB' counts bytes); gives what counts steps done.
Progress = Callable[[str, int, str], AbstractContextManager[Callable[[int], None]]]

FIRST, INTERVAL = 0.5, 5.0


@contextmanager
def no_progress(task: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Show nothing."""
    yield lambda steps: None


@contextmanager
def show_progress(task: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Show a bar on a terminal, and elsewhere a line every few seconds; both with the time that is left.

    Args:
        task (str): E.g. 'reading train.json'.
        total (int): Number of steps.
        unit (str): Of ``total``, e.g. 'images'; 'MB' where it is in bytes.
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
    """Lines about a task; none where it takes less than half a second."""

    def __init__(self, task: str, total: int, unit: str, stream: TextIO) -> None:
        self.task, self.total, self.unit, self.stream = task, total, unit, stream
        self.done, self.start = 0, time.monotonic()
        self.said: float | None = None

    def advance(self, steps: int) -> None:
        self.done += steps
        now = time.monotonic()
        if now - self.start > FIRST if self.said is None else now - self.said > INTERVAL:
            self.said = now
            left = (now - self.start) * (self.total - self.done) / max(self.done, 1)
            self._say(f'about {format_seconds(left)} left')

    def finish(self) -> None:
        if self.said is not None:
            self._say(f'{format_seconds(time.monotonic() - self.start)}')

    def _say(self, what: str) -> None:
        scale, digits = (1e6, 1) if self.unit == 'MB' else (1, 0)
        print(
            f'{self.task}: {self.done / scale:,.{digits}f} of {self.total / scale:,.{digits}f} {self.unit}, {what}',
            file=self.stream,
            flush=True,
        )


def format_seconds(seconds: float) -> str:
    """Return a duration as people say it: '8 s', '2 min 5 s', '1 h 3 min'."""
    seconds = round(seconds)
    if seconds < 60:
        return f'{seconds} s'
    minutes, seconds = divmod(seconds, 60)
    return f'{minutes} min {seconds} s' if minutes < 60 else f'{minutes // 60} h {minutes % 60} min'


def track(items: Sequence[T], task: str, unit: str = 'images') -> Iterator[T]:
    """Iterate, showing progress.

    Args:
        items (Sequence): What to iterate over.
        task (str): E.g. 'painting'.
        unit (str): Of the items.
    """
    with show_progress(task, len(items), unit) as advance:
        for item in items:
            yield item
            advance(1)
