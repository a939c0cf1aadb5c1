"""Naming what is wrong with data: an error for what stops a run, and a report for what is found ahead."""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


class DataError(RuntimeError):
    """A file of a data set cannot be used; the message names it and says why."""

    def __init__(self, message: str) -> None:
        # A worker process hands an exception on as the text of its traceback; our message is the end of it.
        if 'Original Traceback' in message:
            message = message.rsplit(f'{type(self).__name__}: ', 1)[-1].strip()
        super().__init__(message)


@dataclass
class Report:
    """What was found in a data set.

    Args:
        examples (int): How many files to name for each kind of finding.
    """

    examples: int = 5
    errors: dict[str, dict[str, Any]] = field(default_factory=dict)
    warnings: dict[str, dict[str, Any]] = field(default_factory=dict)
    checked: dict[str, int] = field(default_factory=dict)

    def error(self, kind: str, where: str, what: str = '') -> None:
        """Note what a run would stop at, or would learn or be measured with wrong data from."""
        self._note(self.errors, kind, where, what)

    def warn(self, kind: str, where: str, what: str = '') -> None:
        """Note what is odd, and how training and testing deal with it."""
        self._note(self.warnings, kind, where, what)

    def count(self, what: str, number: int = 1) -> None:
        """Note that ``number`` images, annotations or other things were looked at."""
        self.checked[what] = self.checked.get(what, 0) + number

    def _note(self, findings: dict, kind: str, where: str, what: str) -> None:
        found = findings.setdefault(kind, dict(count=0, examples=[]))
        found['count'] += 1
        if len(found['examples']) < self.examples:
            found['examples'].append(f'{where}: {what}' if what else where)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dict(checked=self.checked, errors=self.errors, warnings=self.warnings)

    def __str__(self) -> str:
        lines = ['Checked: ' + (', '.join(f'{count:,} {what}' for what, count in self.checked.items()) or 'nothing')]
        for name, findings in (('error', self.errors), ('warning', self.warnings)):
            for kind, found in sorted(findings.items(), key=lambda item: -item[1]['count']):
                lines.append(f'{name}: {kind} ({found["count"]:,})')
                lines += [f'    {example}' for example in found['examples']]
                if found['count'] > len(found['examples']):
                    lines.append(f'    and {found["count"] - len(found["examples"]):,} more')
        errors, warnings = (sum(found['count'] for found in findings.values())
                            for findings in (self.errors, self.warnings))
        return '\n'.join([*lines, f'{errors:,} errors, {warnings:,} warnings'])
