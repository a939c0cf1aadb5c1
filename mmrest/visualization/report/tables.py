"""Tables of a report: values of each class, and the confusions between classes."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .classwise import KINDS
from .matching import NOTHING
from .record import TestRecord

MAX_CLASSES = 20  # of the confusion matrix
OTHERS = -2  # the classes of a confusion matrix that are not shown one by one


@dataclass
class Cell:
    """Cell of a table.

    Attributes:
        text (str): Its text.
        share (float): Length of its bar, or strength of its color, in [0, 1].
        kind (str): 'text', 'number', 'bar', 'correct' or 'wrong'.
        title (str): What a pointer on the cell shows.
    """

    text: str
    share: float = 0.0
    kind: str = 'number'
    title: str = ''


@dataclass
class Table:
    """Table with a header.

    Attributes:
        header (list[str]): Names of the columns.
        rows (list[list[Cell]]): Cells; the first one names the row.
        note (str): Explanation of the table.
    """

    header: list[str] = field(default_factory=list)
    rows: list[list[Cell]] = field(default_factory=list)
    note: str = ''


def class_table(record: TestRecord) -> Table:
    """Return the table of classes, the lowest value of its first bar first."""
    values = {'detection': _detection_values, 'segmentation': _segmentation_values}.get(
        record.task, _classification_values
    )(record)
    header = list(dict.fromkeys(name for row in values for name in row))
    rows = []
    for label, row in enumerate(values):
        cells = [row.get(name) or Cell('–') for name in header]
        first = next((cell for cell in cells if cell.kind == 'bar'), None)
        rows.append((math.inf if first is None or first.text == '–' else first.share, label, cells))
    named = [
        [Cell(record.name_of(label), kind='text'), *cells] for _, label, cells in sorted(rows, key=lambda r: r[:2])
    ]
    return Table(['class', *header], named)


def _bar(value: float, scale: float, digits: int) -> Cell:
    if not math.isfinite(value):
        return Cell('–', kind='bar')
    return Cell(f'{value:.{digits}f}', min(max(value / scale, 0.0), 1.0), 'bar')


def _labels(record: TestRecord) -> range:
    """Return all classes, including those without a name."""
    return range(max([len(record.classes), *(1 + max(pair) for pair in record.pairs)]))


def _detection_values(record: TestRecord) -> list[dict[str, Cell]]:
    annotated, _ = _sums(record.pairs)
    rows = []
    for label in _labels(record):
        row = {}
        for kind, by_name in record.class_ap.items():
            row[KINDS[kind]] = _bar(by_name.get(record.name_of(label), math.nan), 1, 3)
        if record.num_judged:
            objects, correct = annotated[label], record.pairs[label, label]
            missed = record.pairs[label, NOTHING]
            row['found, %'] = _bar(100 * correct / objects if objects else math.nan, 100, 1)
            counts = dict(objects=objects, correct=correct, missed=missed)
            counts['taken for another class'] = objects - correct - missed
            counts['false detections'] = record.pairs[NOTHING, label]
            row.update({name: Cell(str(count)) for name, count in counts.items()})
        rows.append(row)
    return rows


def _segmentation_values(record: TestRecord) -> list[dict[str, Cell]]:
    import torch
    from mmseg.evaluation import IoUMetric

    annotated, predicted = _sums(record.pairs)
    labels = list(_labels(record)) if record.num_judged else []
    # In float64, in which the numbers of all pixels are exact.
    correct, truth, found = (
        torch.tensor([counts(label) for label in labels], dtype=torch.float64)
        for counts in (lambda label: record.pairs[label, label], annotated.__getitem__, predicted.__getitem__)
    )
    values = IoUMetric.total_area_to_metrics(correct, truth + found - correct, found, truth) if labels else {}
    total = sum(record.pairs.values())
    return [
        {
            'IoU, %': _bar(100 * float(values['IoU'][label]), 100, 2),
            'accuracy, %': _bar(100 * float(values['Acc'][label]), 100, 2),
            'share of pixels, %': Cell(f'{100 * annotated[label] / total:.2f}'),
        }
        for label in labels
    ]


def _classification_values(record: TestRecord) -> list[dict[str, Cell]]:
    annotated, predicted = _sums(record.pairs)
    rows = []
    for label in _labels(record) if record.num_judged else []:
        images, correct = annotated[label], record.pairs[label, label]
        row = {'accuracy, %': _bar(100 * correct / images if images else math.nan, 100, 2)}
        counts = dict(images=images, correct=correct, predicted=predicted[label])
        rows.append({**row, **{name: Cell(str(count)) for name, count in counts.items()}})
    return rows


def _sums(pairs: Counter) -> tuple[Counter, Counter]:
    """Return the sums of confusions over the predicted classes and over the annotated ones."""
    annotated, predicted = Counter(), Counter()
    for (row, column), count in pairs.items():
        annotated[row] += count
        predicted[column] += count
    return annotated, predicted


def confusion_table(record: TestRecord, max_classes: int = MAX_CLASSES) -> Table:
    """Return the confusion matrix, with a row for each annotated class and a column for each predicted one.

    Args:
        record (TestRecord): Results of a test.
        max_classes (int): Number of classes that are shown one by one, those with the most errors. All others
            become one row and one column.
    """
    labels, confused = list(_labels(record)), Counter()
    for (row, column), count in record.pairs.items():
        if row != column:
            confused.update({row: count, column: count})
    shown = labels
    if len(labels) > max_classes:
        shown = sorted(sorted(labels, key=lambda label: (-confused[label], label))[:max_classes])
        shown = [label for label in shown if confused[label]]
    kept = {*shown, NOTHING}
    pairs: Counter = Counter()
    for (row, column), count in record.pairs.items():
        pairs[row if row in kept else OTHERS, column if column in kept else OTHERS] += count
    sums, predicted = _sums(pairs)
    ends = [OTHERS] * bool(sums[OTHERS] or predicted[OTHERS])
    rows, columns = ([*shown, *ends, *[NOTHING] * bool(counts[NOTHING])] for counts in (sums, predicted))
    unit = {'detection': 'objects', 'segmentation': 'pixels'}.get(record.task, 'images')
    table = Table(['', *(_name(record, column, 'missed') for column in columns)])
    nothing = 'no object' if record.task == 'detection' else 'no class'
    for row in rows:
        name = _name(record, row, nothing)
        cells = [Cell(name, kind='text', title=f'{sums[row]} {unit}')]
        for column in columns:
            count = pairs[row, column]
            share = count / sums[row] if sums[row] else 0.0
            text = _percent(share) if record.task == 'segmentation' else _short(count)
            title = f'{name}, predicted: {_name(record, column, "missed")}: {count} {unit}, {_percent(share) or "0"} %'
            correct = row == column and row >= 0
            cells.append(Cell(text if count else '', share, 'correct' if correct else 'wrong', title))
        table.rows.append(cells)
    if len(shown) < len(labels):
        table.note = f'Of {len(labels)} classes, these are the {len(shown)} with the most errors.'
    return table


def _name(record: TestRecord, label: int, nothing: str) -> str:
    return {NOTHING: nothing, OTHERS: 'other classes'}.get(label) or record.name_of(label)


def _short(count: int) -> str:
    return str(count) if count < 10_000 else f'{count / 1000:.0f}k' if count < 10**7 else f'{count / 10**6:.0f}M'


def _percent(share: float) -> str:
    return '<0.1' if 0 < share < 0.001 else f'{100 * share:.1f}' if share < 0.0995 else f'{100 * share:.0f}'


def metric_cells(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    """Return names and texts of the numbers among an evaluator's results.

    Values that it could not compute are dashes: COCO's evaluation gives -1 where there are no objects of a size.
    """
    cells = []
    for name, value in metrics.items():
        if isinstance(value, (int, float, np.number)) and not isinstance(value, bool):
            known = math.isfinite(value) and not (value == -1 and '_mAP' in name)
            text = str(value) if isinstance(value, int) else f'{value:.{3 if abs(value) <= 1 else 2}f}'
            cells.append((name, text if known else '–'))
    return cells
