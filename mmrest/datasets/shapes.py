"""The shapes data set: discs, squares, triangles and stars on textured backgrounds.

It is drawn, not downloaded: small enough to train a detector or a segmentor from scratch within minutes, in
the file formats of the large sets (COCO's instance JSON, ADE20K's label maps). An image depends on the size,
the seed, its split and its index only, so a larger set begins with the images of a smaller one.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from ..utils.fileio import atomic_write

# Corners and circumradius of each class for a nominal radius of 1, such that all cover similar areas.
OUTLINES = {'disc': (72, 1.0), 'square': (4, 1.2), 'triangle': (3, 1.3), 'star': (10, 1.3)}
TILT = 20  # degrees by which a shape leans at most; a square on its corner would be another class to learn
STAR_NOTCH = 0.45  # inner radius of the star, relative to its circumradius
CLASSES = tuple(OUTLINES)
SPLITS = ('train', 'val')
CROWD_INDEX, EMPTY_INDEX = 0, 1  # in every split: the image with a crowd region, the one without an object
FORMAT_VERSION = 1  # raise it with any change of what is drawn or written
MIN_SIZE = 32  # px; below it the smallest star is no longer a star
COUNT_WEIGHTS = (0.25, 0.30, 0.25, 0.15, 0.05)  # of 1, 2, ... 5 shapes in an image
SIZE_RANGE = (0.16, 0.42)  # nominal diameter, as a fraction of the shorter image side
MIN_VISIBLE, MIN_PIXELS = 0.4, 40  # what must stay in sight of each shape: part of its own area, pixels
CONTRAST = 50.0  # CIE76 distance between a shape's colour and the background's and each other shape's
# The files of a data set, temporary ones included; nothing else is ever removed.
OWN_FILE = re.compile(
    r'(images|labels)/(train|val)/\d{6,}\.png|annotations/\.?instances_(train|val)\.json(\.\d+\.partial)?'
)


@dataclass
class ShapeInstance:
    """One annotated object: a shape, or a crowd of tiny shapes of one class."""

    category: int  # COCO category id and value in the label map: i + 1 for CLASSES[i]
    mask: np.ndarray  # (H, W) bool, the visible pixels
    iscrowd: bool = False


@dataclass
class ShapeImage:
    """A drawn image with its annotation."""

    image: np.ndarray  # (H, W, 3) uint8, BGR
    label_map: np.ndarray  # (H, W) uint8, 0 for the background and i + 1 for CLASSES[i]
    instances: list[ShapeInstance]  # in drawing order: later ones cover earlier ones


class _Layer(NamedTuple):
    """What is painted in one colour."""

    category: int
    alpha: np.ndarray  # (H, W) float32, the share of each pixel it covers
    mask: np.ndarray  # (H, W) bool, the pixels it covers by half at least
    least: float  # number of pixels that must stay visible: all of a crowd, a good part of a shape
    iscrowd: bool


def _place(rng: np.random.Generator, name: str, centre: Sequence[float], radius: float) -> np.ndarray:
    """The outline of a class, leaning at random about a centre (x, y), (N, 2) float64; all in px."""
    corners, circumradius = OUTLINES[name]
    upright = -math.pi / (4 if name == 'square' else 2)  # a square stands on a side, the others point up
    angles = upright + math.radians(rng.uniform(-TILT, TILT)) + np.arange(corners) * (2 * math.pi / corners)
    radii = np.full(corners, circumradius * radius)
    radii[1::2] *= STAR_NOTCH if name == 'star' else 1.0
    return radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1) + np.asarray(centre)


def _rasterise(size: tuple[int, int], category: int, polygons: Sequence[np.ndarray], iscrowd: bool) -> _Layer:
    """The union of polygons, (N, 2) each in px, as a layer with smooth edges."""
    scale = 4
    fine = np.zeros((size[0] * scale, size[1] * scale), np.uint8)
    for polygon in polygons:
        cv2.fillPoly(fine, [np.rint(polygon * scale - 0.5).astype(np.int32)], 255)
    alpha = cv2.resize(fine, size[::-1], interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    area = np.count_nonzero(alpha >= 0.5)
    least = area if iscrowd else max(MIN_VISIBLE * area, MIN_PIXELS)
    return _Layer(category, alpha, alpha >= 0.5, least, iscrowd)


def _random_shape(rng: np.random.Generator, size: tuple[int, int]) -> _Layer:
    category = int(rng.integers(len(CLASSES))) + 1
    name = CLASSES[category - 1]
    radius = max(rng.uniform(*SIZE_RANGE) * min(size), 10.0) / 2  # 10 px matter for the smallest images only
    margin = 0.85 * radius * OUTLINES[name][1]  # the border may cut off a little, never what tells the class
    centre = rng.uniform(margin, size[1] - margin), rng.uniform(margin, size[0] - margin)
    return _rasterise(size, category, [_place(rng, name, centre, radius)], iscrowd=False)


def _random_crowd(rng: np.random.Generator, size: tuple[int, int]) -> _Layer:
    """Tiny shapes of one class on a jittered grid with gaps, as one layer."""
    category = int(rng.integers(len(CLASSES))) + 1
    grid = rng.integers(4, 6, 2)  # columns and rows
    pitch = 0.09 * min(size)
    origin = rng.uniform(0, np.array(size[::-1]) - grid * pitch)
    polygons = []
    for cell in rng.permutation(grid.prod())[:-2]:
        row, column = divmod(cell, grid[0])
        centre = origin + (np.array([column, row]) + 0.5 + rng.uniform(-0.2, 0.2, 2)) * pitch
        polygons.append(_place(rng, CLASSES[category - 1], centre, 0.34 * pitch))
    return _rasterise(size, category, polygons, iscrowd=True)


def _visible_masks(layers: Sequence[_Layer]) -> list[np.ndarray]:
    """The pixels of each layer that no later layer covers, (H, W) bool each."""
    return [layer.mask & ~np.any([later.mask for later in layers[i + 1 :]], axis=0) for i, layer in enumerate(layers)]


def _lay_out(rng: np.random.Generator, size: tuple[int, int], with_crowd: bool) -> list[_Layer]:
    """Layers in drawing order; a shape that would hide too much of another one is never added."""
    layers = [_random_crowd(rng, size)] if with_crowd else []
    wanted = len(layers) + rng.choice(len(COUNT_WEIGHTS), p=COUNT_WEIGHTS) + 1
    for _ in range(20 * wanted):
        if len(layers) == wanted:
            break
        trial = [*layers, _random_shape(rng, size)]
        if all(mask.sum() >= layer.least for layer, mask in zip(trial, _visible_masks(trial))):
            layers = trial
    return layers


def _texture(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """A random pattern (clouds, a gradient, stripes or waves) under noise, (H, W) float32 in [-1, 1]."""
    height, width = size
    side = min(size)

    def noise(cell: float) -> np.ndarray:
        grid = rng.uniform(-1, 1, (round(height / cell), round(width / cell))).astype(np.float32)
        return cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)

    angle = rng.uniform(0, 2 * math.pi)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    ramp = ((x - width / 2) * math.cos(angle) + (y - height / 2) * math.sin(angle)) / side  # in [-0.71, 0.71]
    phase = 2 * math.pi * ramp / rng.uniform(0.06, 0.25)
    patterns = (
        noise(side / 3) + 0.5 * noise(side / 8),
        1.4 * ramp,
        np.tanh(3 * np.sin(phase)),
        np.sin(phase + 3 * noise(side / 3)),
    )
    pattern = patterns[rng.integers(len(patterns))]
    grain = 0.5 * noise(side / 12) + 0.4 * noise(4) + 0.4 * noise(1)
    return np.clip(0.9 * pattern + rng.uniform(0.2, 0.8) * grain, -1, 1).astype(np.float32)


def _surface(rng: np.random.Generator, size: tuple[int, int], colour: np.ndarray) -> np.ndarray:
    """A surface that varies mildly about a BGR colour, (H, W, 3) float32, in [0, 1] or nearly so."""
    direction = rng.uniform(0.1, 0.25) * (rng.random(3) - colour)
    return (colour + _texture(rng, size)[..., None] * direction).astype(np.float32)


def _new_colour(rng: np.random.Generator, taken: Sequence[np.ndarray]) -> np.ndarray:
    """A random BGR colour, (3,) float64 in [0, 1], that differs clearly from those taken (at least one)."""
    colours = rng.uniform(0.08, 0.95, (64, 3))
    lab = cv2.cvtColor(np.concatenate([colours, taken])[None].astype(np.float32), cv2.COLOR_BGR2Lab)[0]
    distances = np.linalg.norm(lab[:64, None] - lab[None, 64:], axis=2).min(axis=1)
    clear = np.flatnonzero(distances >= CONTRAST)
    return colours[clear[0] if len(clear) else distances.argmax()]


def _check_integer(name: str, value: int, low: int) -> None:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < low:
        raise ValueError(f'{name} must be an integer of at least {low}, got {value!r}')


def _check_size(size: Sequence[int]) -> tuple[int, int]:
    if not isinstance(size, (tuple, list)) or len(size) != 2:
        raise ValueError(f'size must be (height, width), got {size!r}')
    for value in size:
        _check_integer('each side of size', value, MIN_SIZE)
    return int(size[0]), int(size[1])


def draw_image(size: Sequence[int] = (128, 128), seed: int = 0, index: int = 0, split: str = 'train') -> ShapeImage:
    """Draw one image of the data set, with its label map and instances.

    Args:
        size: Height and width in px, at least 32 each.
        seed: Seed of the data set, 0 or more.
        index: Index in the split. Image 0 has a crowd region beside its shapes, image 1 has no object.
        split: ``'train'`` or ``'val'``.

    Raises:
        ValueError: If an argument is out of range.
    """
    size = _check_size(size)
    _check_integer('seed', seed, 0)
    _check_integer('index', index, 0)
    if split not in SPLITS:
        raise ValueError(f'split must be one of {SPLITS}, got {split!r}')
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    layers = [] if index == EMPTY_INDEX else _lay_out(rng, size, with_crowd=index == CROWD_INDEX)

    background = rng.uniform(0.1, 0.9, 3)
    colours = [0.6 * background + 0.4 * background.mean()]  # somewhat greyish, for the shapes to stand out
    image = _surface(rng, size, colours[0])
    for layer in layers:
        colours.append(_new_colour(rng, colours))
        image += layer.alpha[..., None] * (_surface(rng, size, colours[-1]) - image)
    image *= rng.uniform(0.85, 1.1)
    image += rng.normal(0, 0.01, image.shape)

    instances = [
        ShapeInstance(layer.category, mask, layer.iscrowd) for layer, mask in zip(layers, _visible_masks(layers))
    ]
    label_map = np.zeros(size, np.uint8)
    for instance in instances:
        label_map[instance.mask] = instance.category
    return ShapeImage(np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8), label_map, instances)


def _to_polygons(mask: np.ndarray) -> list[list[float]]:
    """Polygons ``[x0, y0, x1, y1, ...]`` in px whose union is a (H, W) bool mask."""
    # Contours run through pixel centres, half a pixel inside, where a lone pixel has no area. At four times
    # the size that is an eighth, and simplifying them by less than half a pixel always leaves an area.
    scale = 4
    fine = mask.astype(np.uint8).repeat(scale, axis=0).repeat(scale, axis=1)
    contours, hierarchy = cv2.findContours(fine, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    for i, contour in enumerate(contours):
        if hierarchy[0, i, 3] >= 0:
            # A hole, which polygons cannot have: cut the mask through it and describe both parts.
            column = int(contour[:, 0, 0].min() + contour[:, 0, 0].max()) // (2 * scale)
            right = np.arange(mask.shape[1]) >= column
            return _to_polygons(mask & ~right) + _to_polygons(mask & right)
    polygons = []
    for contour in contours:
        smooth = cv2.approxPolyDP(contour, 0.4 * scale, closed=True)
        polygons.append(((smooth.reshape(-1) + 0.5) / scale).tolist())
    return polygons


def _to_rle(mask: np.ndarray) -> dict:
    """COCO's uncompressed RLE of a (H, W) bool mask: run lengths down the columns, zeros first."""
    flat = mask.reshape(-1, order='F')
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff([0, *edges, flat.size]).tolist()
    return {'size': list(mask.shape), 'counts': [0, *counts] if flat[0] else counts}


def _annotate(instance: ShapeInstance) -> dict:
    """COCO's annotation of an instance, without its ids."""
    rows, cols = np.flatnonzero(instance.mask.any(axis=1)), np.flatnonzero(instance.mask.any(axis=0))
    x, y = int(cols[0]), int(rows[0])
    return {
        'category_id': instance.category,
        'bbox': [x, y, int(cols[-1]) - x + 1, int(rows[-1]) - y + 1],
        'area': int(instance.mask.sum()),
        'segmentation': _to_rle(instance.mask) if instance.iscrowd else _to_polygons(instance.mask),
        'iscrowd': int(instance.iscrowd),
    }


def _write_json(path: Path, content: dict) -> None:
    atomic_write(path, json.dumps(content).encode())


def _clear(root: Path) -> None:
    """Remove the files of an earlier drawing; refuse to if there are others among them."""
    files = [
        path
        for folder in ('images', 'labels', 'annotations')
        for path in sorted((root / folder).rglob('*'))
        if not path.is_dir()
    ]
    for path in files:
        if not OWN_FILE.fullmatch(path.relative_to(root).as_posix()):
            raise FileExistsError(f'{path} is no file of a shapes data set: choose another folder')
    (root / 'shapes.json').unlink(missing_ok=True)  # first, so that an interruption shows
    for path in files:
        path.unlink()


def _draw_split(root: Path, split: str, count: int, size: tuple[int, int], seed: int) -> Iterator[None]:
    """Write the images, label maps and annotations of a split; yields after each image."""
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
            # From 1 on: COCO's evaluation takes an annotation id of 0 for "no match".
            annotations.append({'id': len(annotations) + 1, 'image_id': image_id, **_annotate(instance)})
        yield
    _write_json(
        root / 'annotations' / f'instances_{split}.json',
        {
            'info': {'description': f'shapes, {split} split', 'version': str(FORMAT_VERSION)},
            'images': images,
            'annotations': annotations,
            'categories': [{'id': i, 'name': name, 'supercategory': 'shape'} for i, name in enumerate(CLASSES, 1)],
        },
    )


def draw_shapes(
    root: str | os.PathLike,
    num_train: int = 1200,
    num_val: int = 200,
    size: Sequence[int] = (128, 128),
    seed: int = 0,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Draw the data set into a folder, unless it is there already, and return the folder.

    For each split, ``train`` and ``val``, it writes ``images/<split>/<index>.png``, the label maps
    ``labels/<split>/<index>.png`` (0 is the background, i the i-th class) and COCO's
    ``annotations/instances_<split>.json``; at last ``shapes.json`` with the arguments. A folder where any of
    these is missing was left by an interrupted drawing and is drawn again. Let one process at a time draw.

    Args:
        root: The folder; created where missing.
        num_train, num_val: Number of images in each split, at least 2.
        size: Height and width of the images in px, at least 32 each.
        seed: Seed, 0 or more.
        overwrite: Draw in any case, replacing a data set in the folder.
        progress: Called with the number of images drawn and to draw, after each image.

    Raises:
        ValueError: If an argument is out of range.
        FileExistsError: If the folder holds a data set drawn with other arguments, or other files among its.
    """
    size = _check_size(size)
    for name, value, low in (('num_train', num_train, 2), ('num_val', num_val, 2), ('seed', seed, 0)):
        _check_integer(name, value, low)
    arguments = {
        'format_version': FORMAT_VERSION,
        'num_train': int(num_train),
        'num_val': int(num_val),
        'size': list(size),
        'seed': int(seed),
    }
    root, counts = Path(root), {'train': num_train, 'val': num_val}
    stamp = root / 'shapes.json'
    if stamp.is_file() and not overwrite:
        found, wanted = stamp.read_text(encoding='utf-8'), json.dumps(arguments)
        if found != wanted:
            raise FileExistsError(
                f'{root} holds a data set drawn with {found}, not with {wanted}: '
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
    _write_json(stamp, arguments)
    return root
