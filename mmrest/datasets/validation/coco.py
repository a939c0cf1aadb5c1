"""Validation of COCO annotations, for training, evaluation and ``check_dataset``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ...utils.progress import Progress, no_progress
from .coco_segmentations import check_segmentations
from .report import Report
from .values import is_integer, shorten, to_numbers

ADD_AREA = (
    'mmdet and pycocotools need it. With boxes alone: '
    "for a in content['annotations']: a['area'] = a['bbox'][2] * a['bbox'][3]"
)


def check_coco(
    content: Any,
    ann_file: str | Path,
    report: Report,
    classes: Any = None,
    masks: bool = True,
    evaluated: bool = True,
    progress: Progress = no_progress,
) -> dict[str, list[dict]] | None:
    """Check the content of a COCO instance file.

    Invalid entries, and entries that would silently be misinterpreted, are errors. Entries that mmdet skips are
    warnings.

    Args:
        content: Parsed JSON.
        ann_file (str | Path): File name, for messages.
        report (Report): Collects the findings.
        classes (sequence[str], optional): Class names of the dataset.
        masks (bool): Check segmentations.
        evaluated (bool): Check requirements of pycocotools, for evaluation. False: for training only.
        progress (callable): Progress display, see :mod:`mmrest.utils.progress`.

    Returns:
        dict | None: Valid images, annotations and categories; None if the lists are missing.
    """
    parts = _find_parts(content, ann_file, report)
    if parts is None:
        return None
    name = Path(ann_file).name
    images, annotations, categories = parts['images'], parts['annotations'], parts['categories']
    category_ids = _check_ids(categories, f'{name}, category', report, 'category')
    _check_classes(categories, classes, str(ann_file), report)
    image_ids = _check_ids(images, f'{name}, image', report, 'image')
    sizes, named = _check_images(images, name, report)
    annotation_ids = _check_ids(annotations, f'{name}, annotation', report, 'annotation')

    def place(index: int) -> str:
        return f'{name}, annotation {shorten(annotations[index].get("id"))}'

    def value(key: str) -> Callable[[int], tuple[str, str]]:
        return lambda index: (place(index), f'{key} {shorten(annotations[index].get(key))}')

    image = _look_up(image_ids, annotations, 'image_id')
    category = _look_up(category_ids, annotations, 'category_id')
    report.warnings_at('annotation of no image (skipped)', np.flatnonzero(image < 0), value('image_id'))
    report.errors_at('wrong category id', np.flatnonzero(category < 0), value('category_id'))
    malformed = check_segmentations(annotations, place, report, progress) if masks else []
    crowd = _check_crowds(annotations, place, report, evaluated)
    valid, used = _check_boxes(annotations, image, sizes, images, place, report)
    if masks:
        lacking = [index for index in np.flatnonzero(used) if not annotations[index].get('segmentation')]
        report.errors_at('object without a segmentation', lacking, lambda index: (place(index), 'masks are used'))
    objects = np.bincount(image[used], minlength=len(images))
    crowds = np.bincount(image[used & crowd], minlength=len(images))
    if used.any() and (objects == crowds).all() and not evaluated:
        report.error('nothing to train on', str(ann_file), 'all objects are crowds (iscrowd 1), which are ignored')
    known = np.zeros(len(images), bool)
    known[list(image_ids.values())] = True

    def picture(index: int) -> tuple[str, str]:
        return f'{name}, {images[index].get("file_name")}', ''

    report.warnings_at(
        'image without objects (left out of training, or a negative)', np.flatnonzero(known & (objects == 0)), picture
    )
    report.warnings_at(
        'image with crowds alone (ignored regions, no objects)',
        np.flatnonzero(known & (objects > 0) & (objects == crowds)),
        picture,
    )
    report.count('images', len(images))
    report.count('annotations', len(annotations))
    valid &= category >= 0
    valid[list(malformed)] = False
    single = np.zeros(len(annotations), bool)
    single[list(annotation_ids.values())] = True
    return dict(
        content,
        images=_select(images, known & named & ~np.isnan(sizes).any(1)),
        annotations=_select(annotations, valid & single),
        categories=[categories[index] for index in category_ids.values()],
    )


def _select(entries: list[dict], mask: np.ndarray) -> list[dict]:
    return entries if mask.all() else [entries[index] for index in np.flatnonzero(mask)]


def _find_parts(content: Any, ann_file: str | Path, report: Report) -> dict[str, list[dict]] | None:
    parts = {}
    for key in ('images', 'annotations', 'categories'):
        part = content.get(key) if isinstance(content, dict) else None
        if key == 'annotations' and part is None and isinstance(content, dict):
            report.warn('no annotations (for prediction only)', str(ann_file))
            part = []
        if not isinstance(part, list) or not all(isinstance(entry, dict) for entry in part):
            report.error('not COCO annotations', str(ann_file), f'"{key}" is missing or no list of objects')
            return None
        parts[key] = part
    return parts


def _check_ids(entries: list[dict], where: str, report: Report, kind: str) -> dict[Any, int]:
    """Return the indices of entries by id; report ids that are missing, not integers, or duplicate."""
    ids = [entry.get('id') for entry in entries]
    if set(map(type, ids)) <= {int}:
        known = dict(zip(ids, range(len(ids))))
        if len(known) == len(ids):
            return known
    known = {}
    for index, number in enumerate(ids):
        if not is_integer(number):
            report.error('id is not an integer', where, shorten(number))
        elif number in known:
            report.error(f'duplicate {kind} id', where, str(number))
        else:
            known[number] = index
    return known


def _look_up(indices: dict[Any, int], entries: list[dict], key: str) -> np.ndarray:
    """Return the indices of the ids under a key of entries; -1 for unknown ids."""
    ids = [entry.get(key) for entry in entries]
    if not set(map(type, ids)) <= {int}:
        ids = [number if is_integer(number) else None for number in ids]
    return np.fromiter((indices.get(number, -1) for number in ids), np.int64, len(ids))


def _check_classes(categories: list[dict], classes: Any, ann_file: str, report: Report) -> None:
    names = [category.get('name') for category in categories]
    if not all(isinstance(name, str) for name in names):
        report.error('category without a name', ann_file)
        return
    missing = [name for name in classes or () if name not in names]
    if missing:
        report.error(
            'class without a category',
            ann_file,
            f'{shorten_names(missing)} of the classes in the config (metainfo.classes) '
            f'{"is" if len(missing) == 1 else "are"} not in the file, which has {shorten_names(names)}'
            + (
                f'. To use those: metainfo={write_classes(names)} in the dataset, num_classes={len(names)} in the model'
                if names and len(missing) == len(classes)
                else ''
            ),
        )
    repeated = [name for name, count in Counter(names).items() if count > 1 and (not classes or name in classes)]
    for name in repeated:
        report.error('category name given twice', ann_file, name)
    order = [name for name in names if name in (classes or ())]
    if not missing and not repeated and order != list(classes or ()):
        report.error(
            'classes in another order than the categories',
            ann_file,
            f'the dataset has {tuple(classes)}, the file {tuple(order)}. mmdet numbers them in the order of the file, '
            f'so that the names would be swapped: write metainfo = {write_classes(order)}',
        )


def write_classes(names: Sequence[str]) -> str:
    """Return the ``metainfo`` with class names, as it is written into a config."""
    return f'dict(classes={tuple(names)!r})'


def shorten_names(names: Sequence[str], max_names: int = 20) -> str:
    """Join names for a message; of long lists, show the first ones and the total number."""
    names = list(map(str, names))
    return ', '.join(names[:max_names]) + (f', ... ({len(names)} in all)' if len(names) > max_names else '')


def _check_images(images: list[dict], name: str, report: Report) -> tuple[np.ndarray, np.ndarray]:
    """Return widths and heights (N, 2), NaN if invalid, and a mask (N,) of images with valid file names."""

    def place(index: int) -> str:
        return f'{name}, image {shorten(images[index].get("id"))}'

    sizes = np.empty((len(images), 2))
    for column, side in enumerate(('width', 'height')):
        numbers = to_numbers([image.get(side) for image in images])
        good = (numbers > 0) & (numbers == np.floor(numbers))
        report.errors_at(
            'image size is not a positive integer',
            np.flatnonzero(~good),
            lambda index, side=side: (place(index), f'{side} {shorten(images[index].get(side))}'),
        )
        sizes[:, column] = np.where(good, numbers, np.nan)
    names = [image.get('file_name') for image in images]
    text = np.array([isinstance(file, str) and file != '' and '\0' not in file for file in names], bool)
    outside = np.array(
        [
            text[index] and (os.path.isabs(file) or '..' in file and '..' in Path(file).parts)
            for index, file in enumerate(names)
        ],
        bool,
    )
    report.errors_at(
        'file name is not a string', np.flatnonzero(~text), lambda index: (place(index), shorten(names[index]))
    )
    report.errors_at(
        'file name leaves the image folder', np.flatnonzero(outside), lambda index: (place(index), names[index])
    )
    for file, count in Counter(map(str, names)).items():
        if count > 1:
            report.warn('image listed twice', f'{name}, {file}', f'{count} times')
    return sizes, text & ~outside


def _check_crowds(annotations: list[dict], place: Callable[[int], str], report: Report, evaluated: bool) -> np.ndarray:
    """Check the fields that only pycocotools uses, and return a mask of crowd annotations."""
    crowds = [annotation.get('iscrowd') for annotation in annotations]
    if not set(map(type, crowds)) <= {int} or not set(crowds) <= {0, 1}:
        lacking = [index for index, crowd in enumerate(crowds) if crowd is None]
        if evaluated:
            report.errors_at(
                'iscrowd is missing or null', lacking, lambda index: (place(index), 'pycocotools needs 0 or 1')
            )
        else:
            report.warnings_at('iscrowd is missing or null (read as 0)', lacking, lambda index: (place(index), ''))
        wrong = [index for index, crowd in enumerate(crowds) if crowd is not None and crowd not in (0, 1)]
        report.errors_at('iscrowd is neither 0 nor 1', wrong, lambda index: (place(index), shorten(crowds[index])))
    if evaluated:
        zeros = [index for index, annotation in enumerate(annotations) if annotation.get('id') == 0]
        report.errors_at(
            'annotation id 0',
            zeros,
            lambda index: (place(index), 'pycocotools treats it as no match: number annotations from 1'),
        )
    return np.fromiter(map(bool, crowds), bool, len(crowds))


def _check_boxes(
    annotations: list[dict],
    image: np.ndarray,
    sizes: np.ndarray,
    images: list[dict],
    place: Callable[[int], str],
    report: Report,
) -> tuple[np.ndarray, np.ndarray]:
    """Return masks of annotations with a valid box and area, and of those that mmdet uses (objects and crowds)."""
    boxes = [annotation.get('bbox') for annotation in annotations]
    areas = [annotation.get('area') for annotation in annotations]
    four = [box if type(box) is list and len(box) == 4 else [None] * 4 for box in boxes]
    corners = to_numbers(list(chain.from_iterable(four))).reshape(-1, 4)
    boxed, area = ~np.isnan(corners).any(1), to_numbers(areas)
    report.errors_at(
        'box is not four numbers', np.flatnonzero(~boxed), lambda index: (place(index), shorten(boxes[index]))
    )
    absent = np.fromiter(('area' not in annotation for annotation in annotations), bool, len(annotations)) & boxed
    lacking = np.flatnonzero(absent)
    report.errors_at('area is missing', lacking, lambda index: (place(index), ADD_AREA if index == lacking[0] else ''))
    report.errors_at(
        'area is not a number',
        np.flatnonzero(boxed & np.isnan(area) & ~absent),
        lambda index: (place(index), shorten(areas[index])),
    )
    valid = boxed & ~np.isnan(area)
    x, y, width, height = corners.T
    # Without its area a box is an object still: no image is reported as one without objects because of that.
    sized = valid | absent
    small = sized & ((width < 1) | (height < 1) | (area <= 0))
    report.warnings_at(
        'box without area, or under 1 px (skipped)',
        np.flatnonzero(small),
        lambda index: (place(index), shorten(boxes[index])),
    )
    if not len(images):
        return valid, np.zeros_like(valid)
    right, bottom = sizes[image].T
    used = sized & ~small & (image >= 0) & ~np.isnan(right) & ~np.isnan(bottom)
    outside = used & (
        (np.minimum(x + width, right) <= np.maximum(x, 0)) | (np.minimum(y + height, bottom) <= np.maximum(y, 0))
    )
    # A tolerance of one pixel allows for rounding.
    partly = used & ~outside & ((np.minimum(x, y) < -1) | (x + width > right + 1) | (y + height > bottom + 1))

    def describe(index: int) -> tuple[str, str]:
        entry = images[image[index]]
        return place(index), f'{shorten(boxes[index])} in {entry["width"]}x{entry["height"]}'

    report.warnings_at('box outside the image (skipped)', np.flatnonzero(outside), describe)
    report.warnings_at('box partly outside the image', np.flatnonzero(partly), describe)
    return valid, used & ~outside
