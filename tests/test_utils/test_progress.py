"""Progress as lines and as a bar; the number of cores."""

from __future__ import annotations

import io
import sys

import pytest

from mmrest.utils import progress
from mmrest.utils.progress import format_seconds, no_progress, show_progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that each look moves on by a second."""
    ticks = iter(range(10**6))
    monkeypatch.setattr(progress.time, 'monotonic', lambda: float(next(ticks)))


def test_show_progress_without_terminal_prints_lines(clock, monkeypatch):
    monkeypatch.setattr(sys, 'stderr', io.StringIO())
    with show_progress('reading a.json', 40_000_000, 'MB') as advance:
        for _ in range(8):
            advance(5_000_000)
    assert sys.stderr.getvalue().splitlines() == [
        'reading a.json: 5.0 of 40.0 MB, about 7 s left',
        'reading a.json: 35.0 of 40.0 MB, about 1 s left',
        'reading a.json: 40.0 of 40.0 MB, 9 s',
    ]


def test_show_progress_quick_task_prints_nothing(monkeypatch):
    monkeypatch.setattr(sys, 'stderr', io.StringIO())
    for show in (show_progress, no_progress):
        with show('loading', 3, 'images') as advance:
            advance(3)
    assert not sys.stderr.getvalue()


def test_show_progress_on_a_terminal_prints_a_bar(monkeypatch):
    pytest.importorskip('rich')
    stream = io.StringIO()
    stream.isatty = lambda: True
    monkeypatch.setattr(sys, 'stderr', stream)
    monkeypatch.setenv('TERM', 'xterm')
    for unit in ('images', 'MB'):
        with show_progress('loading', 2000, unit) as advance:
            advance(2000)
    assert '2000/2000' in stream.getvalue() and '2.0/2.0 kB' in stream.getvalue()


@pytest.mark.parametrize('seconds, text', [(0.4, '0 s'), (59.4, '59 s'), (125, '2 min 5 s'), (3780, '1 h 3 min')])
def test_format_seconds_is_readable(seconds, text):
    assert format_seconds(seconds) == text
