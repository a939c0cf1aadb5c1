"""Errors of invalid data, and a report of findings in a dataset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...utils.errors import MMRestError

ADVICE = 'To find all such files before a run: mmrest check CONFIG'
SWITCH = 'To run without these checks: --cfg-options check_samples=False'


class DataError(MMRestError, RuntimeError):
    """A file of a dataset cannot be used; the message names the file and the reason."""

    def __init__(self, message: str) -> None:
        # torch rebuilds an exception of a worker process from its traceback, which ends with the original message.
        if 'Original Traceback' in message:
            message = message.rsplit(f'{type(self).__name__}: ', 1)[-1].strip()
        super().__init__(message)


class SampleError(DataError):
    """A file of a sample cannot be used.

    Args:
        message (str): Path, a space, and the problem with the file; or the traceback of a worker process.
        kind (str): Heading of the error in a report.
    """

    def __init__(self, message: str, kind: str = 'sample cannot be loaded') -> None:
        self.kind, self.reason = kind, message
        super().__init__(message if 'Original Traceback' in message else f'{message}. {ADVICE}')


@dataclass
class Report:
    """Errors and warnings found in a dataset, counted by kind.

    Args:
        examples (int): Number of examples to keep for each kind.

    Attributes:
        errors, warnings (dict): ``count`` and ``examples`` of each kind.
        checked (dict): Numbers of checked items by name.
    """

    examples: int = 5
    errors: dict[str, dict[str, Any]] = field(default_factory=dict)
    warnings: dict[str, dict[str, Any]] = field(default_factory=dict)
    checked: dict[str, int] = field(default_factory=dict)

    @property
    def num_errors(self) -> int:
        """Total number of errors."""
        return sum(found['count'] for found in self.errors.values())

    @property
    def num_warnings(self) -> int:
        """Total number of warnings."""
        return sum(found['count'] for found in self.warnings.values())

    def error(self, kind: str, where: str, detail: str = '') -> None:
        """Add an error: data that a run would stop at, or would train or evaluate on wrongly."""
        self._add(self.errors, kind, 1, lambda _: (where, detail))

    def warn(self, kind: str, where: str, detail: str = '') -> None:
        """Add a warning: unusual data that training and testing can handle."""
        self._add(self.warnings, kind, 1, lambda _: (where, detail))

    def errors_at(self, kind: str, indices: Sequence[int], describe: Callable[[int], tuple[str, str]]) -> None:
        """Add an error for each index; ``describe`` returns location and detail of those kept as examples."""
        self._add(self.errors, kind, len(indices), lambda number: describe(int(indices[number])))

    def warnings_at(self, kind: str, indices: Sequence[int], describe: Callable[[int], tuple[str, str]]) -> None:
        """Add a warning for each index, as :meth:`errors_at` does for errors."""
        self._add(self.warnings, kind, len(indices), lambda number: describe(int(indices[number])))

    def count(self, name: str, number: int = 1) -> None:
        """Count checked items, such as images or annotations."""
        self.checked[name] = self.checked.get(name, 0) + number

    def _add(self, findings: dict, kind: str, count: int, describe: Callable[[int], tuple[str, str]]) -> None:
        if not count:
            return
        found = findings.setdefault(kind, dict(count=0, examples=[]))
        found['count'] += count
        for number in range(min(count, self.examples - len(found['examples']))):
            where, detail = describe(number)
            found['examples'].append(f'{where}: {detail}' if detail else where)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as a dict for JSON."""
        return dict(checked=self.checked, errors=self.errors, warnings=self.warnings)

    def __str__(self) -> str:
        lines = ['Checked: ' + (', '.join(f'{count:,} {name}' for name, count in self.checked.items()) or 'nothing')]
        for name, findings in (('error', self.errors), ('warning', self.warnings)):
            for kind, found in sorted(findings.items(), key=lambda item: -item[1]['count']):
                lines.append(f'{name}: {kind} ({found["count"]:,})')
                lines += [f'    {example}' for example in found['examples']]
                if found['count'] > len(found['examples']):
                    lines.append(f'    and {found["count"] - len(found["examples"]):,} more')
        return '\n'.join([*lines, f'{self.num_errors:,} errors, {self.num_warnings:,} warnings'])
