"""Validation of COCO segmentations."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import numpy as np

from ...utils.progress import Progress
from .report import Report
from .values import is_number, shorten

# Number of annotations to check at a time.
_CHUNK_SIZE = 20_000


def check_segmentations(
    annotations: list[dict], place: Callable[[int], str], report: Report, progress: Progress
) -> list[int]:
    """Check segmentations and return the indices of annotations with neither polygons nor RLE.

    Args:
        annotations (list[dict]): COCO annotations.
        place (Callable): Returns the location of an annotation, by index, for messages.
        report (Report): Collects the findings.
        progress (callable): Progress display, see :mod:`mmrest.utils.progress`.
    """
    malformed, short = [], []
    with progress('checking segmentations', len(annotations), 'annotations') as advance:
        for start in range(0, len(annotations), _CHUNK_SIZE):
            values = [annotation.get('segmentation') for annotation in annotations[start : start + _CHUNK_SIZE]]
            if not _are_polygons(values):
                for index, value in enumerate(values, start):
                    good, thin = _judge_segmentation(value)
                    malformed += [] if good else [index]
                    short += [index] if thin else []
            advance(len(values))
    report.warnings_at('polygon with fewer than three points (skipped)', short, lambda index: (place(index), ''))
    report.errors_at(
        'segmentation is neither polygons nor RLE',
        malformed,
        lambda index: (place(index), shorten(annotations[index].get('segmentation'))),
    )
    return malformed


def _are_polygons(values: list) -> bool:
    """Return True if all segmentations other than RLE are well-formed polygons (vectorized)."""
    lists = [value for value in values if value and not _is_rle(value)]
    if not set(map(type, lists)) <= {list}:
        return False
    polygons = list(chain.from_iterable(lists))
    if not set(map(type, polygons)) <= {list}:
        return False
    lengths = np.fromiter(map(len, polygons), np.int64, len(polygons))
    if (lengths < 6).any() or (lengths % 2).any():
        return False
    try:
        points = np.array(list(chain.from_iterable(polygons)))
    except ValueError:  # a list among the numbers
        return False
    return points.dtype.kind in 'fi' and bool((np.abs(points) < 1e12).all())


def _is_rle(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    size, counts = value.get('size'), value.get('counts')
    return (
        isinstance(size, list)
        and len(size) == 2
        and all(type(side) is int and side > 0 for side in size)
        and (isinstance(counts, str) or (isinstance(counts, list) and all(type(n) is int for n in counts)))
    )


def _judge_segmentation(value: Any) -> tuple[bool, bool]:
    """Return two flags: well-formed segmentation, and polygons with fewer than three points."""
    if isinstance(value, dict):
        return not value or _is_rle(value), False
    good = not value or (
        isinstance(value, list) and all(isinstance(polygon, list) and all(map(is_number, polygon)) for polygon in value)
    )
    return good, good and any(len(polygon) < 6 or len(polygon) % 2 for polygon in value or ())
