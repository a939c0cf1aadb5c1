"""A tally of what the tests of reliability tried, shown at the end."""

from __future__ import annotations

from collections import Counter

import pytest

TALLY: Counter = Counter()


@pytest.fixture(scope='session')
def tally():
    """Count what was tried: ``tally('runs killed')``, ``tally('losses compared', 20)``."""

    def add(what: str, number: int = 1) -> None:
        TALLY[what] += number

    return add


def pytest_terminal_summary(terminalreporter) -> None:
    if TALLY:
        terminalreporter.section('reliability')
        for what in sorted(TALLY):
            terminalreporter.write_line(f'{TALLY[what]:8,} {what}')
