"""Progress as lines and as a bar; the number of cores."""

from __future__ import annotations

import io
import os
import sys

import pytest

from mmrest.utils import progress
from mmrest.utils.cores import available_cores
from mmrest.utils.progress import format_seconds, no_progress, show_progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that each look moves on by a second."""
    ticks = iter(range(10**6))
    monkeypatch.setattr(progress.time, 'monotonic', lambda: float(next(ticks)))


def test_lines(clock, monkeypatch):
    monkeypatch.setattr(sys, 'stderr', io.StringIO())
    with show_progress('reading a.json', 40_000_000, 'MB') as advance:
        for _ in range(8):
            advance(5_000_000)
    assert sys.stderr.getvalue().splitlines() == [
        'reading a.json: 5.0 of 40.0 MB, about 7 s left',
        'reading a.json: 35.0 of 40.0 MB, about 1 s left',
        'reading a.json: 40.0 of 40.0 MB, 9 s',
    ]


def test_quick_tasks_say_nothing(monkeypatch):
    monkeypatch.setattr(sys, 'stderr', io.StringIO())
    for show in (show_progress, no_progress):
        with show('loading', 3, 'images') as advance:
            advance(3)
    assert not sys.stderr.getvalue()


def test_bar_on_a_terminal(monkeypatch):
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
def test_durations(seconds, text):
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(
    'group, files, cores',
    [
        ('0::/', {'sys/fs/cgroup/cpu.max': '250000 100000'}, 3),
        ('0::/a/b', {'sys/fs/cgroup/a/cpu.max': '100000 100000', 'sys/fs/cgroup/a/b/cpu.max': 'max 100000'}, 1),
        ('0::/', {'sys/fs/cgroup/cpu.max': 'max 100000'}, 8),
        ('0::/not/there', {'sys/fs/cgroup/cpu.max': '50000 100000'}, 1),
        (
            '4:cpu,cpuacct:/',
            {'sys/fs/cgroup/cpu/cpu.cfs_quota_us': '400000', 'sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000'},
            4,
        ),
        ('4:cpu:/', {'sys/fs/cgroup/cpu/cpu.cfs_quota_us': '-1', 'sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000'}, 8),
        ('3:memory:/', {}, 8),
        (None, {}, 8),
    ],
)
def test_cores(tmp_path, monkeypatch, group, files, cores):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: range(8), raising=False)
    for name, text in {**files, **({'proc/self/cgroup': group + '\n'} if group else {})}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert available_cores(tmp_path) == cores
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: range(1))
    assert available_cores(tmp_path) == 1
