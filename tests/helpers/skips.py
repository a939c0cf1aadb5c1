"""A pytest plugin that counts skips by reason, and turns those for lack of a required package into failures."""

from __future__ import annotations

import importlib.util
import re
from collections import Counter

import pytest

VARIABLE = 'MMREST_REQUIRE'


class Skips:
    """Hooks of pytest.

    Args:
        required (str): Names of modules, with commas between them, that the tests must not be skipped for,
            e.g. 'mmdet,triton'.
    """

    def __init__(self, required: str = '') -> None:
        self.required = [name.strip() for name in required.split(',') if name.strip()]
        missing = [name for name in self.required if importlib.util.find_spec(name) is None]
        if missing:
            raise pytest.UsageError(
                f'{VARIABLE} names what is not installed here: {", ".join(missing)}. Install it, or correct {VARIABLE}.'
            )

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self):
        return self.judge((yield))

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self):
        return self.judge((yield))

    def judge(self, report):
        """Fail what was skipped, a test or a whole module, for lack of a required package."""
        if report.skipped and not hasattr(report, 'wasxfail'):
            reason = reason_of(report)
            # The module itself or a part of it, e.g. mmdet and mmdet.utils, but not mmdetection.
            name = next((name for name in self.required if re.search(rf'(?<![\w.-]){name}(?![\w-])', reason)), None)
            if name:
                report.outcome = 'failed'
                report.longrepr = f'Skipped: {reason}. {VARIABLE} asks for {name}, so this is a failure.'
        return report

    def pytest_terminal_summary(self, terminalreporter) -> None:
        reasons = Counter(reason_of(report) for report in terminalreporter.getreports('skipped'))
        if reasons:
            terminalreporter.section('skipped, by reason')
            for reason, count in reasons.most_common():
                terminalreporter.write_line(f'{count:6,} {reason}')


def reason_of(report) -> str:
    """Return why a test or a module was skipped, on one line."""
    reason = report.longrepr[-1] if isinstance(report.longrepr, (tuple, list)) else str(report.longrepr)
    return ' '.join(reason.removeprefix('Skipped: ').split()).rstrip('.')
