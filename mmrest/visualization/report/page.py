"""Page of a report: one HTML file that needs no other file, no network and no script."""

from __future__ import annotations

import base64
import statistics
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from ...utils.environment import processor_name, versions
from ...utils.fileio import atomic_write
from .record import TestRecord, Timings
from .tables import class_table, confusion_table, metric_cells

TEMPLATE = Path(__file__).with_name('page.html')

DEFINITIONS = {
    'detection': (
        'Detections with a score of at least {score_thr:g} are matched with the annotated objects, one to one: first '
        'with objects of their class, then with the others, from an IoU of {iou_thr:g} between their boxes. An object '
        'without a detection is missed, and a detection without an object is false. Detections in an ignored region of '
        'their class, such as a crowd, do not count. Images are ordered by the number of objects that were missed or '
        'taken for another class, plus that of false detections.'
    ),
    'segmentation': (
        'Images are ordered by their own mIoU: the mean over the classes that are annotated or predicted in the image. '
        'Pixels that are annotated as ignored do not count.'
    ),
    'classification': 'Images of which another class was predicted are ordered by the score of the annotated class.',
}
CONFUSIONS = {
    'detection': 'Objects by annotated class (rows) and predicted class (columns); colors show shares of the row.',
    'segmentation': 'Percent of the pixels of the annotated class (rows) by predicted class (columns).',
    'classification': 'Images by annotated class (rows) and predicted class (columns); colors show shares of the row.',
}


def write_report(
    record: TestRecord,
    out_dir: str | Path,
    title: str,
    facts: dict[str, str],
    charts: Sequence[tuple[str, str]] = (),
    notes: Sequence[str] = (),
) -> Path:
    """Write the report of a test.

    Args:
        record (TestRecord): From :class:`~mmrest.visualization.ReportHook`, after the test.
        out_dir (str | Path): Folder for ``index.html``; it is made if need be, and an earlier report is overwritten.
        title (str): Name of the model.
        facts (dict): What was tested on what, by name; shown below the title.
        charts (Sequence[tuple[str, str]]): Titles and ``<svg>`` elements of training curves, which are not escaped.
        notes (Sequence[str]): Sentences that a reader of the numbers has to know.

    Returns:
        Path: The page.

    Raises:
        OSError: The page cannot be written; an earlier one is unchanged.
    """
    from jinja2 import Environment, StrictUndefined  # which torch depends on

    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    notes = [*notes, *_own_notes(record)]
    page = template.from_string(TEMPLATE.read_text(encoding='utf-8')).render(
        title=title,
        facts=facts,
        notes=notes,
        metrics=metric_cells(record.metrics),
        charts=charts,
        classes=class_table(record),
        confusion=confusion_table(record) if record.num_judged and record.pairs else None,
        about_confusion=CONFUSIONS.get(record.task),
        definition=DEFINITIONS.get(record.task, '').format(score_thr=record.score_thr, iou_thr=record.iou_thr),
        is_judged=record.num_judged > 0,
        worst=record.worst,
        examples=record.examples,
        score_thr=record.score_thr if record.task == 'detection' else None,
        timings=timing_rows(record.timings, record.processes),
        environment=[('processor', processor_name()), *versions().items()],
        date=datetime.now().strftime('%Y-%m-%d %H:%M'),
        to_base64=lambda content: base64.b64encode(content).decode(),
    )
    path = Path(out_dir) / 'index.html'
    # A name of a file may hold bytes that are no UTF-8.
    atomic_write(path, page.encode('utf-8', 'replace'))
    return path


def _own_notes(record: TestRecord) -> list[str]:
    """Return what a report lacks, and why."""
    if record.format_only:
        return ['The evaluator only formats results (format_only): nothing is compared with annotations.']
    if not record.num_judged:
        return ['The images have no annotations that could be compared with the predictions.']
    notes = []
    missing = record.num_images - record.num_judged
    if missing:
        notes.append(f'{missing} of {record.num_images} images have no annotations and are in none of the counts.')
    if not metric_cells(record.metrics):
        reason = '; that of COCO does so where a detector finds no object at all' if record.task == 'detection' else ''
        notes.append(f'The evaluator computed nothing{reason}.')
    return notes


def timing_rows(timings: Timings, processes: int) -> list[tuple[str, str]]:
    """Return names and texts of the times of a test."""
    images, total = sum(timings.sizes), sum(timings.model)
    if not images:
        return []
    rows: list[tuple[str, Any]] = [('device', timings.device)]
    if processes > 1:
        rows.append(('processes', f'{processes}; the times are those of the first one'))
    rows.append(('images', f'{images} in {len(timings.sizes)} batches of up to {max(timings.sizes)}'))
    # The first batch is slower, and the last one may be smaller.
    each = [1000 * time / size for time, size in zip(timings.model, timings.sizes) if size][1:]
    if each:
        rows.append(('model, per image', f'{statistics.median(each):.1f} ms, median over all batches but the first'))
    rows += [
        ('model, total', f'{total:.1f} s, with its pre- and postprocessing'),
        ('between batches', f'{timings.loading:.1f} s, waiting for images'),
        ('metrics', f'{timings.evaluation:.1f} s'),
        ('this report', f'{timings.report:.1f} s, comparing and painting'),
    ]
    return rows
