"""Error of data that cannot be used, and a report of what was found in a data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...utils.errors import MMRestError

ADVICE = 'To find all such files before a run: python tools/check_dataset.py CONFIG'
SWITCH = 'To run without these checks: --cfg-options check_samples=False'


class DataError(MMRestError, RuntimeError):
    """A file of a data set cannot be used; the message names it and says why."""

    def __init__(self, message: str) -> None:
        # A worker process hands an exception on as the text of its traceback; our message is the end of it.
        if 'Original Traceback' in message:
            message = message.rsplit(f'{type(self).__name__}: ', 1)[-1].strip()
        super().__init__(message)


class SampleError(DataError):
    """A file of a sample cannot be used.

    Args:
        message (str): Path, a blank, and what is wrong with the file; or a traceback of a worker process.
        kind (str): What a report calls it.
    """

    def __init__(self, message: str, kind: str = 'sample cannot be loaded') -> None:
        self.kind, self.reason = kind, message
        super().__init__(message if 'Original Traceback' in message else f'{message}. {ADVICE}')


@dataclass
class Report:
    """Findings in a data set.

    Args:
        examples (int): How many files to name for each kind of finding.
    """

    examples: int = 5
    errors: dict[str, dict[str, Any]] = field(default_factory=dict)
    warnings: dict[str, dict[str, Any]] = field(default_factory=dict)
    checked: dict[str, int] = field(default_factory=dict)

    def error(self, kind: str, where: str, what: str = '') -> None:
        """Note what a run would stop at, or would learn or be measured with wrong data from."""
        self._note(self.errors, kind, 1, lambda _: (where, what))

    def warn(self, kind: str, where: str, what: str = '') -> None:
        """Note what is odd, and how training and testing deal with it."""
        self._note(self.warnings, kind, 1, lambda _: (where, what))

    def errors_at(self, kind: str, indices: Sequence[int], describe: Callable[[int], tuple[str, str]]) -> None:
        """Note an error for each of some entries; ``describe`` gives where and what for those that are named."""
        self._note(self.errors, kind, len(indices), lambda number: describe(int(indices[number])))

    def warnings_at(self, kind: str, indices: Sequence[int], describe: Callable[[int], tuple[str, str]]) -> None:
        """Note a warning for each of some entries, as :meth:`errors_at` notes errors."""
        self._note(self.warnings, kind, len(indices), lambda number: describe(int(indices[number])))

    def count(self, what: str, number: int = 1) -> None:
        """Note that ``number`` images, annotations or other things were looked at."""
        self.checked[what] = self.checked.get(what, 0) + number

    def _note(self, findings: dict, kind: str, count: int, describe: Callable[[int], tuple[str, str]]) -> None:
        if not count:
            return
        found = findings.setdefault(kind, dict(count=0, examples=[]))
        found['count'] += count
        for number in range(min(count, self.examples - len(found['examples']))):
            where, what = describe(number)
            found['examples'].append(f'{where}: {what}' if what else where)

    def as_dict(self) -> dict[str, Any]:
        """Return the findings as they go into a JSON file."""
        return dict(checked=self.checked, errors=self.errors, warnings=self.warnings)

    def __str__(self) -> str:
        lines = ['Checked: ' + (', '.join(f'{count:,} {what}' for what, count in self.checked.items()) or 'nothing')]
        for name, findings in (('error', self.errors), ('warning', self.warnings)):
            for kind, found in sorted(findings.items(), key=lambda item: -item[1]['count']):
                lines.append(f'{name}: {kind} ({found["count"]:,})')
                lines += [f'    {example}' for example in found['examples']]
                if found['count'] > len(found['examples']):
                    lines.append(f'    and {found["count"] - len(found["examples"]):,} more')
        errors, warnings = (
            sum(found['count'] for found in findings.values()) for findings in (self.errors, self.warnings)
        )
        return '\n'.join([*lines, f'{errors:,} errors, {warnings:,} warnings'])
