"""Run the steps of setup_env.py: progress on the screen, all output in a log, failures cut to what matters.

Like setup_env.py, this is read by old Pythons too: no new syntax.
"""

import queue
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

# Texts in the output of a failed step, and what to do about it. The first that matches counts.
HINTS = (
    (r'No space left on device', 'The disk is full. Make room: torch with its CUDA libraries takes several GB.'),
    (
        r'No matching distribution|No solution found|Connection|Failed to (fetch|download)|'
        r'Temporary failure in name resolution|timed out',
        'A package could not be had. Check the network and the PIP_* and UV_* variables, then run again; with '
        'MMREST_NO_UV=1 pip is used in place of uv.',
    ),
)


class SetupError(Exception):
    """Something the user has to mend; the message says what and how."""


def describe_time(seconds: float) -> str:
    """Format a duration, e.g. '2 min 5 s'."""
    minutes, seconds = divmod(int(seconds), 60)
    return '{} min {} s'.format(minutes, seconds) if minutes else '{} s'.format(seconds)


def parse_activity(line: str) -> str:
    """Return what a line of pip's or uv's output says about the progress; '' if nothing."""
    match = re.match(r'\s*Downloading (\S+)(?: \(([^)]+)\))?', line)
    if match:
        name = match.group(1).rsplit('/', 1)[-1]
        return 'downloading {}{}'.format(name, ' ({})'.format(match.group(2)) if match.group(2) else '')
    if re.match(r'Installing collected packages|Prepared \d+ package', line):
        return 'installing'
    return ''


class Progress:
    """One line for a running step: rewritten in place on a terminal, else repeated every 30 seconds."""

    def __init__(self, label: str, stream, clock=time.monotonic):
        self.label, self.stream, self.clock = label, stream, clock
        self.on_terminal = stream.isatty()
        self.start = self.printed = clock()
        self.activity = ''

    def text(self) -> str:
        """Return the line to show."""
        return '{}: {}{}'.format(
            self.label, self.activity and self.activity + ', ', describe_time(self.clock() - self.start)
        )

    def update(self, activity: str = '') -> None:
        """Take note of `activity` and show the line if it is due: often on a terminal, seldom elsewhere."""
        changed = bool(activity) and activity != self.activity
        self.activity = activity or self.activity
        now = self.clock()
        if not (self.on_terminal and changed) and now - self.printed < (1 if self.on_terminal else 30):
            return
        self.printed = now
        if self.on_terminal:
            width = shutil.get_terminal_size().columns - 1
            self.stream.write('\r' + self.text()[:width] + '\x1b[K')
        else:
            self.stream.write(self.text() + '\n')
        self.stream.flush()

    def finish(self, outcome: str) -> None:
        """Show the last line, with the outcome and the whole time."""
        start = '\r\x1b[K' if self.on_terminal else ''
        self.stream.write(
            '{}{}: {} ({})\n'.format(start, self.label, outcome, describe_time(self.clock() - self.start))
        )
        self.stream.flush()


def relevant_lines(lines, count: int = 30) -> list:
    """Return the lines of a failed step worth showing: the first errors, then the end, without what went well."""
    noise = re.compile(r'\s*(Collecting |Downloading |Downloaded |Using cached |Requirement already satisfied|$)')
    kept = [line.rstrip()[:200] for line in lines if not noise.match(line)]
    error = re.compile(r'\berror:|Error:|ERROR:|No solution found|Killed')
    end = max(0, len(kept) - count // 2)
    errors = [line for line in kept[:end] if error.search(line)][: count - count // 2]
    return errors + kept[end:]


def find_hint(lines) -> str:
    """Return what to do about a failed step; '' if nothing is known."""
    text = '\n'.join(lines)
    return next((hint for pattern, hint in HINTS if re.search(pattern, text)), '')


def run_logged(label: str, command: list, log: Path, environ: dict) -> None:
    """Run a step; raise SetupError if it fails. Its output goes to `log`; the screen shows how far it is."""
    log.parent.mkdir(parents=True, exist_ok=True)
    progress = Progress(label, sys.stdout)
    lines = []
    arrived = queue.Queue()
    process = subprocess.Popen(
        command,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
        errors='replace',
    )

    def read() -> None:
        for line in process.stdout:
            arrived.put(line)
        arrived.put(None)

    threading.Thread(target=read, daemon=True).start()
    try:
        with log.open('w', encoding='utf-8') as file:
            while True:
                try:
                    line = arrived.get(timeout=1)
                except queue.Empty:
                    progress.update()
                    continue
                if line is None:
                    break
                file.write(line)
                lines.append(line)
                progress.update(parse_activity(line))
        status = process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
    if status != 0:
        progress.finish('failed')
        shown = ['  | ' + line for line in relevant_lines(lines)]
        where = '{} failed. All of its output is in {}'.format(label, log)
        raise SetupError('\n'.join(shown + [where, find_hint(lines)]).rstrip())
    progress.finish('done')
