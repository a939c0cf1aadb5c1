"""Progress, logs and failures of the installer's steps."""

import io
import os
import sys

import pytest
from helpers.tools import load_tool

setup_progress = load_tool('setup_progress')


@pytest.mark.parametrize(
    'line, expected',
    [
        (
            '  Downloading torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl (191.8 MB)\n',
            'downloading torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl (191.8 MB)',
        ),
        (' Downloading torch (858.1MiB)\n', 'downloading torch (858.1MiB)'),
        ('Installing collected packages: mmdet\n', 'installing'),
        ('Prepared 70 packages in 1m 12s\n', 'installing'),
        ('Resolved 93 packages in 1.20s\n', ''),
        ('\n', ''),
    ],
)
def test_parse_activity_of_a_line(line, expected):
    assert setup_progress.parse_activity(line) == expected


class Terminal(io.StringIO):
    def isatty(self):
        return True


def run_progress(stream, seconds: int) -> str:
    """Return what a step of some seconds shows, with one line of output a second."""
    now = 0
    progress = setup_progress.Progress('packages', stream, clock=lambda: now)
    for now in range(1, seconds + 1):  # noqa: B007 - the clock reads it
        progress.update(f'downloading {now // 10}')
    progress.finish('done')
    return stream.getvalue()


def test_progress_on_a_terminal_rewrites_its_line():
    output = run_progress(Terminal(), 190)
    assert '\rpackages: downloading 19, 3 min 10 s\x1b[K' in output
    assert output.count('\n') == 1


def test_progress_elsewhere_is_a_line_every_half_minute():
    lines = run_progress(io.StringIO(), 190).splitlines()
    assert lines[0] == 'packages: downloading 3, 30 s'
    assert len(lines) == 7
    assert lines[-1] == 'packages: done (3 min 10 s)'


def test_run_logged_on_failure_shows_the_error_and_the_log(tmp_path, capsys):
    code = 'print("Collecting torch"); print("ERROR: [Errno 28] No space left on device"); exit(1)'
    log = tmp_path / 'logs' / 'step.log'
    with pytest.raises(setup_progress.SetupError) as raised:
        setup_progress.run_logged('packages', [sys.executable, '-c', code], log, dict(os.environ))
    message = str(raised.value)
    assert '| ERROR: [Errno 28]' in message and str(log) in message and 'Make room' in message
    assert 'Collecting' not in message
    assert 'Collecting torch' in log.read_text()
    assert 'packages: failed' in capsys.readouterr().out


def test_run_logged_on_success_keeps_the_log(tmp_path):
    setup_progress.run_logged('step', [sys.executable, '-c', 'print("fine")'], tmp_path / 'a.log', dict(os.environ))
    assert (tmp_path / 'a.log').read_text() == 'fine\n'


def test_relevant_lines_show_early_errors_and_the_end():
    lines = ['error: no such thing\n'] + [f'later line {i}\n' for i in range(500)]
    shown = setup_progress.relevant_lines(lines)
    assert shown[0] == 'error: no such thing'
    assert shown[-1] == 'later line 499'
    assert len(shown) <= 30


@pytest.mark.parametrize(
    'text, expected',
    [
        ('OSError: [Errno 28] No space left on device', 'disk is full'),
        ('ERROR: No matching distribution found for mmdet', 'network'),
        ('error: Failed to fetch: `https://mirror/simple/torch/`', 'MMREST_NO_UV=1'),
        ('ModuleNotFoundError: No module named setuptools', ''),
    ],
)
def test_find_hint_for_a_known_error(text, expected):
    hint = setup_progress.find_hint([text])
    assert expected in hint and bool(hint) == bool(expected)
