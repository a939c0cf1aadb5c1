"""Finding what is wrong with COCO annotations."""
from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

from .faults import DataError, Report

# Python holds parsed annotations in several times the bytes of their file.
_MEMORY_PER_BYTE = 4


def read_json(path: str | Path) -> Any:
    """Read a JSON file, which has no means of running code.

    Raises:
        DataError: It is missing, no JSON, nested beyond reason, or too large for this machine's memory.
    """
    path = Path(path)
    check_size(path)
    try:
        with path.open(encoding='utf-8') as file:
            return json.load(file)
    except (ValueError, RecursionError) as error:
        raise DataError(f'{path} is not a JSON file that can be read: {error or type(error).__name__}.') from error


def check_size(path: str | Path) -> None:
    """Check that a JSON file is there and that its contents fit into memory.

    Raises:
        DataError: It is not, or they do not.
    """
    try:
        size = Path(path).stat().st_size
    except OSError as error:
        raise DataError(f'{path} cannot be read: {error.strerror}.') from error
    free = _free_memory()
    if free is not None and size * _MEMORY_PER_BYTE > free:
        raise DataError(f'{path} has {size / 1e9:.1f} GB, and its contents would not fit into the {free / 1e9:.1f} GB '
                        'of memory that are free. Split it, or use a machine with more.')


def _free_memory() -> int | None:
    """Bytes that processes can still have; None where Linux does not tell."""
    try:
        with open('/proc/meminfo') as file:
            line = next(line for line in file if line.startswith('MemAvailable:'))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration, ValueError):
        return None


def check_coco(content: Any, ann_file: str | Path, report: Report, classes: Any = None, masks: bool = True,
               evaluated: bool = True) -> None:
    """Check the contents of a COCO instance file.

    ``report.errors`` get what cannot be used, or would be misunderstood without a word; ``report.warnings`` what
    mmdet leaves out as a matter of course.

    Args:
        content: Parsed JSON.
        ann_file (str | Path): Its name, for messages.
        report (Report): Gets what is found.
        classes (sequence[str], optional): Names of the classes that the dataset is to have.
        masks (bool): Segmentations are used.
        evaluated (bool): pycocotools compares predictions with them; False: a model is trained on them, no more.
    """
    name = Path(ann_file).name
    parts = {}
    for key in ('images', 'annotations', 'categories'):
        part = content.get(key) if isinstance(content, dict) else None
        if key == 'annotations' and part is None and isinstance(content, dict):
            report.warn('no annotations (can be predicted on, no more)', str(ann_file))
            part = []
        if not isinstance(part, list) or not all(isinstance(entry, dict) for entry in part):
            report.error('not COCO annotations', str(ann_file), f'"{key}" is missing or no list of objects')
            return
        parts[key] = part
    categories = _ids(parts['categories'], f'{name}, category', report, 'category')
    _check_classes(parts['categories'], classes, str(ann_file), report)
    images = _ids(parts['images'], f'{name}, image', report, 'image')
    for image in parts['images']:
        _check_image(image, f'{name}, image {_short(image.get("id"))}', report)
    for file_name, count in Counter(str(image.get('file_name')) for image in parts['images']).items():
        if count > 1:
            report.warn('image listed twice', f'{name}, {file_name}', f'{count} times')
    _ids(parts['annotations'], f'{name}, annotation', report, 'annotation')
    objects: dict[Any, list[bool]] = {}
    for annotation in parts['annotations']:
        where = f'{name}, annotation {_short(annotation.get("id"))}'
        image = images.get(_key(annotation.get('image_id')))
        if image is None:
            report.warn('annotation of no image (left out)', where, f'image_id {_short(annotation.get("image_id"))}')
        if _key(annotation.get('category_id')) not in categories:
            report.error('wrong category id', where, f'category_id {_short(annotation.get("category_id"))}')
        if masks:
            _check_segmentation(annotation.get('segmentation'), where, report)
        _check_for_evaluation(annotation, where, report, evaluated)
        if _check_annotation(annotation, image, where, report) and image is not None:
            if masks and not annotation.get('segmentation'):
                report.error('object without a segmentation', where, 'masks are used')
            objects.setdefault(image['id'], []).append(bool(annotation.get('iscrowd')))
    if objects and all(all(crowds) for crowds in objects.values()) and not evaluated:
        report.error('nothing to train on', str(ann_file), 'all objects are crowds (iscrowd 1), which are ignored')
    for image in images.values():
        crowds = objects.get(image['id'])
        file_name = f'{name}, {image.get("file_name")}'
        if not crowds:
            report.warn('image without objects (left out of training, or a negative)', file_name)
        elif all(crowds):
            report.warn('image with crowds alone (ignored regions, no objects)', file_name)
    report.count('images', len(parts['images']))
    report.count('annotations', len(parts['annotations']))


def _ids(entries: list[dict], where: str, report: Report, kind: str) -> dict[Any, dict]:
    """The entries by their ids; notes ids that are missing, no whole numbers, or taken."""
    known: dict[Any, dict] = {}
    for entry in entries:
        number = entry.get('id')
        if not _is_whole(number):
            report.error('id is no whole number', where, _short(number))
        elif number in known:
            report.error(f'duplicate {kind} id', where, str(number))
        else:
            known[number] = entry
    return known


def _key(value: Any) -> Any:
    """A value to look up an id with; what can be no id is none."""
    return value if _is_whole(value) else None


def _check_classes(categories: list[dict], classes: Any, ann_file: str, report: Report) -> None:
    names = [category.get('name') for category in categories]
    if not all(isinstance(name, str) for name in names):
        report.error('category without a name', ann_file)
        return
    missing = [name for name in classes or () if name not in names]
    if missing:
        report.error('class without a category', ann_file,
                     f'{", ".join(missing)} of the dataset\'s classes; the file has {", ".join(names[:10])}')
    repeated = [name for name, count in Counter(names).items() if count > 1 and (not classes or name in classes)]
    for name in repeated:
        report.error('category name given twice', ann_file, name)
    order = [name for name in names if name in (classes or ())]
    if not missing and not repeated and order != list(classes or ()):
        report.error('classes in another order than the categories', ann_file,
                     f'the dataset has {tuple(classes)}, the file {tuple(order)}. mmdet numbers them as the file does, '
                     f'so that the names would be swapped: write metainfo = dict(classes={tuple(order)!r})')


def _check_image(image: dict, where: str, report: Report) -> None:
    for side in ('width', 'height'):
        if not _is_whole(image.get(side)) or image[side] <= 0:
            report.error('image size is no positive whole number', where, f'{side} {_short(image.get(side))}')
    name = image.get('file_name')
    if not isinstance(name, str) or not name or '\0' in name:
        report.error('file name is no text', where, _short(name))
    elif os.path.isabs(name) or '..' in Path(name).parts:
        report.error('file name leaves the image folder', where, name)


def _check_for_evaluation(annotation: dict, where: str, report: Report, evaluated: bool) -> None:
    """Check what pycocotools looks at and training does not."""
    crowd = annotation.get('iscrowd')
    if crowd is None:
        if evaluated:
            report.error('iscrowd is missing or null', where, 'pycocotools needs 0 or 1')
        else:
            report.warn('iscrowd is missing or null (taken for 0)', where)
    elif crowd not in (0, 1):
        report.error('iscrowd is neither 0 nor 1', where, _short(crowd))
    if evaluated and annotation.get('id') == 0:
        report.error('annotation id 0', where, 'pycocotools takes it for no match: number annotations from 1')


def _check_annotation(annotation: dict, image: dict | None, where: str, report: Report) -> bool:
    """Whether mmdet takes the annotation for an object or a crowd."""
    box = annotation.get('bbox')
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        report.error('box is not four numbers', where, _short(box))
        return False
    if not _is_number(annotation.get('area')):
        report.error('area is no number', where, _short(annotation.get('area')))
        return False
    x, y, width, height = box
    if width < 1 or height < 1 or annotation['area'] <= 0:
        report.warn('box without area, or under 1 px (left out)', where, _short(box))
        return False
    if image is None or not all(_is_whole(image.get(side)) for side in ('width', 'height')):
        return False
    if min(x + width, image['width']) <= max(x, 0) or min(y + height, image['height']) <= max(y, 0):
        report.warn('box outside the image (left out)', where, f'{_short(box)} in {image["width"]}x{image["height"]}')
        return False
    # Half a pixel or so comes of rounding.
    if min(x, y) < -1 or x + width > image['width'] + 1 or y + height > image['height'] + 1:
        report.warn('box partly outside the image', where, f'{_short(box)} in {image["width"]}x{image["height"]}')
    return True


def _check_segmentation(value: Any, where: str, report: Report) -> None:
    if isinstance(value, dict):
        size, counts = value.get('size'), value.get('counts')
        good = (isinstance(size, list) and len(size) == 2 and all(type(side) is int and side > 0 for side in size)
                and (isinstance(counts, str) or (isinstance(counts, list) and all(type(n) is int for n in counts))))
    else:
        good = not value or (isinstance(value, list) and all(
            isinstance(polygon, list) and all(map(_is_number, polygon)) for polygon in value))
        if good and any(len(polygon) < 6 or len(polygon) % 2 for polygon in value or ()):
            report.warn('polygon of less than three points (left out)', where)
    if not good:
        report.error('segmentation is neither polygons nor a run-length code', where, _short(value))


def _is_whole(value: Any) -> bool:
    return type(value) is int or type(value) is float and value.is_integer()


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and -1e12 < value < 1e12  # which also leaves out what is not finite


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + '...'
