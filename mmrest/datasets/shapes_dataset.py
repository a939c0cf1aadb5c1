"""Shapes dataset: drawn images with annotations in the formats of COCO (instances) and ADE20K (label maps).

Small enough to train a detector or a segmentor from scratch within minutes, without a download.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from ..utils.fileio import atomic_write
from .shapes import CLASSES, SPLITS, ShapeInstance, check_integer, check_size, draw_image

STAMP = 'shapes.json'  # written last, with the arguments of the drawing
FORMAT_VERSION = 1  # increase with any change of images or files
# Files of a dataset, including temporary ones. Other files are never removed.
OWN_FILE = re.compile(
    r'(images|labels)/(train|val)/\d{6,}\.png|annotations/(instances_(train|val)\.json|\.instances_\w+\.json\.\d+\.partial)'
)


def _to_polygons(mask: np.ndarray) -> list[list[float]]:
    """Convert a (H, W) bool mask to polygons ``[x0, y0, x1, y1, ...]`` in px."""
    # Contours run through pixel centers, so a single pixel has no area. At four times the size, the error is an eighth
    # of a pixel, and simplifying by less than half a pixel preserves some area.
    scale = 4
    fine = mask.astype(np.uint8).repeat(scale, axis=0).repeat(scale, axis=1)
    contours, hierarchy = cv2.findContours(fine, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    for i, contour in enumerate(contours):
        if hierarchy[0, i, 3] >= 0:
            # Polygons have no holes: cut the mask through the hole and convert both parts.
            column = int(contour[:, 0, 0].min() + contour[:, 0, 0].max()) // (2 * scale)
            right = np.arange(mask.shape[1]) >= column
            return _to_polygons(mask & ~right) + _to_polygons(mask & right)
    polygons = []
    for contour in contours:
        smooth = cv2.approxPolyDP(contour, 0.4 * scale, closed=True)
        polygons.append(((smooth.reshape(-1) + 0.5) / scale).tolist())
    return polygons


def _to_rle(mask: np.ndarray) -> dict:
    """Convert a (H, W) bool mask to uncompressed COCO RLE: run lengths in column-major order, zeros first."""
    flat = mask.reshape(-1, order='F')
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff([0, *edges, flat.size]).tolist()
    return {'size': list(mask.shape), 'counts': [0, *counts] if flat[0] else counts}


def _annotate(instance: ShapeInstance) -> dict:
    """Return the COCO annotation of an instance, without ids."""
    rows, cols = np.flatnonzero(instance.mask.any(axis=1)), np.flatnonzero(instance.mask.any(axis=0))
    x, y = int(cols[0]), int(rows[0])
    return {
        'category_id': instance.category,
        'bbox': [x, y, int(cols[-1]) - x + 1, int(rows[-1]) - y + 1],
        'area': int(instance.mask.sum()),
        'segmentation': _to_rle(instance.mask) if instance.iscrowd else _to_polygons(instance.mask),
        'iscrowd': int(instance.iscrowd),
    }


def _clear(root: Path) -> None:
    """Remove the files of a previous dataset; raise FileExistsError if there are other files in its folders."""
    files = [
        path
        for folder in ('images', 'labels', 'annotations')
        for path in sorted((root / folder).rglob('*'))
        if not path.is_dir()
    ]
    for path in files:
        if not OWN_FILE.fullmatch(path.relative_to(root).as_posix()):
            raise FileExistsError(f'{path} is not a file of a shapes dataset: choose another folder')
    (root / STAMP).unlink(missing_ok=True)  # first, so that an interruption is detected
    for path in files:
        path.unlink()


def _draw_split(root: Path, split: str, count: int, size: tuple[int, int], seed: int) -> Iterator[None]:
    """Write the images, label maps and annotations of a split; yield after each image."""
    for kind in ('images', 'labels'):
        (root / kind / split).mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for index in range(count):
        drawn = draw_image(size, seed, index, split)
        name = f'{index:06d}.png'
        for kind, picture in (('images', drawn.image), ('labels', drawn.label_map)):
            if not cv2.imwrite(str(root / kind / split / name), picture):
                raise OSError(f'cannot write {root / kind / split / name}')
        image_id = len(SPLITS) * index + SPLITS.index(split) + 1  # unique over splits of any length
        images.append({'id': image_id, 'file_name': name, 'height': size[0], 'width': size[1]})
        for instance in drawn.instances:
            # From 1, since COCO's evaluation treats the annotation id 0 as "no match".
            annotations.append({'id': len(annotations) + 1, 'image_id': image_id, **_annotate(instance)})
        yield
    content = {
        'info': {'description': f'shapes, {split} split', 'version': str(FORMAT_VERSION)},
        'images': images,
        'annotations': annotations,
        'categories': [{'id': i, 'name': name, 'supercategory': 'shape'} for i, name in enumerate(CLASSES, 1)],
    }
    atomic_write(root / 'annotations' / f'instances_{split}.json', json.dumps(content).encode())


def is_shapes_dataset(root: str | os.PathLike) -> bool:
    """Tell whether a folder holds a dataset that :func:`draw_shapes` has drawn."""
    return (Path(root) / STAMP).is_file()


def draw_shapes(
    root: str | os.PathLike,
    num_train: int = 1200,
    num_val: int = 200,
    size: Sequence[int] = (128, 128),
    seed: int = 0,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Draw the dataset into a folder, unless it exists already, and return the folder.

    Each split, ``train`` and ``val``, consists of ``images/<split>/<index>.png``, label maps
    ``labels/<split>/<index>.png`` (0 for the background, i for the i-th class) and COCO annotations
    ``annotations/instances_<split>.json``. ``shapes.json`` with the arguments is written last. A folder with missing
    files, left by an interrupted drawing, is drawn again. Only one process may draw at a time.

    Args:
        root (str | PathLike): Folder; created if missing.
        num_train, num_val (int): Number of images of each split, at least 2.
        size (Sequence[int]): Height and width of the images in px, at least 32 each.
        seed (int): Non-negative seed.
        overwrite (bool): Replace an existing dataset.
        progress (Callable, optional): Called after each image with the number of images drawn and the total.

    Raises:
        ValueError: An argument is out of range.
        FileExistsError: The folder holds a dataset drawn with other arguments, or other files.
    """
    size = check_size(size)
    for name, value, low in (('num_train', num_train, 2), ('num_val', num_val, 2), ('seed', seed, 0)):
        check_integer(name, value, low)
    arguments = {
        'format_version': FORMAT_VERSION,
        'num_train': int(num_train),
        'num_val': int(num_val),
        'size': list(size),
        'seed': int(seed),
    }
    root, counts = Path(root), {'train': num_train, 'val': num_val}
    stamp = root / STAMP
    if stamp.is_file() and not overwrite:
        found, wanted = stamp.read_text(encoding='utf-8'), json.dumps(arguments)
        if found != wanted:
            raise FileExistsError(
                f'{root} holds a dataset drawn with {found}, not with {wanted}: '
                'remove it, choose another folder or overwrite it (overwrite=True)'
            )
        files = [f'annotations/instances_{split}.json' for split in counts]
        files += [
            f'{kind}/{split}/{i:06d}.png'
            for kind in ('images', 'labels')
            for split in counts
            for i in range(counts[split])
        ]
        if all((root / file).is_file() for file in files):
            return root

    _clear(root)
    (root / 'annotations').mkdir(parents=True, exist_ok=True)
    done = 0
    for split, count in counts.items():
        for _ in _draw_split(root, split, count, size, seed):
            done += 1
            if progress is not None:
                progress(done, num_train + num_val)
    atomic_write(stamp, json.dumps(arguments).encode())
    return root
