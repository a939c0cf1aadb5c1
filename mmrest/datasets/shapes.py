"""Images of the shapes dataset: discs, squares, triangles and stars on textured backgrounds.

An image depends only on its size, seed, split and index, so a larger dataset begins with the images of a smaller one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import NamedTuple

import cv2
import numpy as np

# Corners and circumradius of each class for a nominal radius of 1, such that all cover similar areas.
OUTLINES = {'disc': (72, 1.0), 'square': (4, 1.2), 'triangle': (3, 1.3), 'star': (10, 1.3)}
MAX_TILT = 20  # degrees; more would turn a square into a diamond, in effect another class
STAR_NOTCH = 0.45  # inner radius of the star, relative to its circumradius
CLASSES = tuple(OUTLINES)
SPLITS = ('train', 'val')
CROWD_INDEX, EMPTY_INDEX = 0, 1  # images with a crowd region and without objects, in every split
MIN_SIZE = 32  # px; a star is not recognizable in smaller images
COUNT_WEIGHTS = (0.25, 0.30, 0.25, 0.15, 0.05)  # probabilities of 1 to 5 shapes in an image
SIZE_RANGE = (0.16, 0.42)  # nominal diameter, as a fraction of the shorter image side
MIN_VISIBLE, MIN_PIXELS = 0.4, 40  # minimum visible fraction and number of pixels of each shape
CONTRAST = 50.0  # minimum CIE76 distance between the colors of shapes and background


@dataclass
class ShapeInstance:
    """Annotated object: a shape, or a crowd of small shapes of one class."""

    category: int  # COCO category id and value in the label map: i + 1 for CLASSES[i]
    mask: np.ndarray  # (H, W) bool, the visible pixels
    iscrowd: bool = False


@dataclass
class ShapeImage:
    """Drawn image with its annotations."""

    image: np.ndarray  # (H, W, 3) uint8, BGR
    label_map: np.ndarray  # (H, W) uint8, 0 for the background and i + 1 for CLASSES[i]
    instances: list[ShapeInstance]  # in drawing order: later ones cover earlier ones


class _Layer(NamedTuple):
    """Layer of an image, painted in one color."""

    category: int
    alpha: np.ndarray  # (H, W) float32, coverage of each pixel in [0, 1]
    mask: np.ndarray  # (H, W) bool, pixels with a coverage of at least 0.5
    min_visible: float  # number of pixels that must remain visible
    iscrowd: bool


def _place(rng: np.random.Generator, name: str, center: Sequence[float], radius: float) -> np.ndarray:
    """Return the randomly tilted outline of a class around a center (x, y) in px: (N, 2) float64."""
    corners, circumradius = OUTLINES[name]
    upright = -math.pi / (4 if name == 'square' else 2)  # a square stands on a side, the others point up
    angles = upright + math.radians(rng.uniform(-MAX_TILT, MAX_TILT)) + np.arange(corners) * (2 * math.pi / corners)
    radii = np.full(corners, circumradius * radius)
    radii[1::2] *= STAR_NOTCH if name == 'star' else 1.0
    return radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1) + np.asarray(center)


def _rasterize(size: tuple[int, int], category: int, polygons: Sequence[np.ndarray], iscrowd: bool) -> _Layer:
    """Rasterize the union of polygons, (N, 2) each in px, to an anti-aliased layer."""
    scale = 4
    fine = np.zeros((size[0] * scale, size[1] * scale), np.uint8)
    for polygon in polygons:
        cv2.fillPoly(fine, [np.rint(polygon * scale - 0.5).astype(np.int32)], 255)
    alpha = cv2.resize(fine, size[::-1], interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    area = np.count_nonzero(alpha >= 0.5)
    min_visible = area if iscrowd else max(MIN_VISIBLE * area, MIN_PIXELS)
    return _Layer(category, alpha, alpha >= 0.5, min_visible, iscrowd)


def _random_shape(rng: np.random.Generator, size: tuple[int, int]) -> _Layer:
    category = int(rng.integers(len(CLASSES))) + 1
    name = CLASSES[category - 1]
    radius = max(rng.uniform(*SIZE_RANGE) * min(size), 10.0) / 2  # 10 px apply to very small images only
    margin = 0.85 * radius * OUTLINES[name][1]  # the image border may crop a shape slightly
    center = rng.uniform(margin, size[1] - margin), rng.uniform(margin, size[0] - margin)
    return _rasterize(size, category, [_place(rng, name, center, radius)], iscrowd=False)


def _random_crowd(rng: np.random.Generator, size: tuple[int, int]) -> _Layer:
    """Return a layer of small shapes of one class on a jittered grid with gaps."""
    category = int(rng.integers(len(CLASSES))) + 1
    grid = rng.integers(4, 6, 2)  # columns and rows
    pitch = 0.09 * min(size)
    origin = rng.uniform(0, np.array(size[::-1]) - grid * pitch)
    polygons = []
    for cell in rng.permutation(grid.prod())[:-2]:
        row, column = divmod(cell, grid[0])
        center = origin + (np.array([column, row]) + 0.5 + rng.uniform(-0.2, 0.2, 2)) * pitch
        polygons.append(_place(rng, CLASSES[category - 1], center, 0.34 * pitch))
    return _rasterize(size, category, polygons, iscrowd=True)


def _visible_masks(layers: Sequence[_Layer]) -> list[np.ndarray]:
    """Return the pixels of each layer that are not covered by later ones, (H, W) bool each."""
    return [layer.mask & ~np.any([later.mask for later in layers[i + 1 :]], axis=0) for i, layer in enumerate(layers)]


def _lay_out(rng: np.random.Generator, size: tuple[int, int], with_crowd: bool) -> list[_Layer]:
    """Return layers in drawing order, none of which hides too much of another one."""
    layers = [_random_crowd(rng, size)] if with_crowd else []
    num_layers = len(layers) + rng.choice(len(COUNT_WEIGHTS), p=COUNT_WEIGHTS) + 1
    for _ in range(20 * num_layers):
        if len(layers) == num_layers:
            break
        trial = [*layers, _random_shape(rng, size)]
        if all(mask.sum() >= layer.min_visible for layer, mask in zip(trial, _visible_masks(trial))):
            layers = trial
    return layers


def _texture(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Return a random pattern (clouds, gradient, stripes or waves) with noise, (H, W) float32 in [-1, 1]."""
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


def _surface(rng: np.random.Generator, size: tuple[int, int], color: np.ndarray) -> np.ndarray:
    """Return a textured surface of a BGR color, (H, W, 3) float32, approximately in [0, 1]."""
    direction = rng.uniform(0.1, 0.25) * (rng.random(3) - color)
    return (color + _texture(rng, size)[..., None] * direction).astype(np.float32)


def _new_color(rng: np.random.Generator, taken: Sequence[np.ndarray]) -> np.ndarray:
    """Return a random BGR color, (3,) float64 in [0, 1], with a clear contrast to at least one other color."""
    colors = rng.uniform(0.08, 0.95, (64, 3))
    lab = cv2.cvtColor(np.concatenate([colors, taken])[None].astype(np.float32), cv2.COLOR_BGR2Lab)[0]
    distances = np.linalg.norm(lab[:64, None] - lab[None, 64:], axis=2).min(axis=1)
    clear = np.flatnonzero(distances >= CONTRAST)
    return colors[clear[0] if len(clear) else distances.argmax()]


def check_integer(name: str, value: int, low: int) -> None:
    """Raise a ValueError if a value is not an integer of at least ``low``."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < low:
        raise ValueError(f'{name} must be an integer of at least {low}, got {value!r}')


def check_size(size: Sequence[int]) -> tuple[int, int]:
    """Return (height, width) in px; raise a ValueError if it is invalid."""
    if not isinstance(size, (tuple, list)) or len(size) != 2:
        raise ValueError(f'size must be (height, width), got {size!r}')
    for value in size:
        check_integer('each side of size', value, MIN_SIZE)
    return int(size[0]), int(size[1])


def draw_image(size: Sequence[int] = (128, 128), seed: int = 0, index: int = 0, split: str = 'train') -> ShapeImage:
    """Draw one image of the dataset, with its label map and instances.

    Args:
        size (Sequence[int]): Height and width in px, at least 32 each.
        seed (int): Non-negative seed of the dataset.
        index (int): Index in the split. Image 0 contains a crowd region, image 1 contains no object.
        split (str): 'train' or 'val'.

    Raises:
        ValueError: An argument is out of range.
    """
    size = check_size(size)
    check_integer('seed', seed, 0)
    check_integer('index', index, 0)
    if split not in SPLITS:
        raise ValueError(f'split must be one of {SPLITS}, got {split!r}')
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    layers = [] if index == EMPTY_INDEX else _lay_out(rng, size, with_crowd=index == CROWD_INDEX)

    background = rng.uniform(0.1, 0.9, 3)
    colors = [0.6 * background + 0.4 * background.mean()]  # desaturated, so that the shapes stand out
    image = _surface(rng, size, colors[0])
    for layer in layers:
        colors.append(_new_color(rng, colors))
        image += layer.alpha[..., None] * (_surface(rng, size, colors[-1]) - image)
    image *= rng.uniform(0.85, 1.1)
    image += rng.normal(0, 0.01, image.shape)

    instances = [
        ShapeInstance(layer.category, mask, layer.iscrowd) for layer, mask in zip(layers, _visible_masks(layers))
    ]
    label_map = np.zeros(size, np.uint8)
    for instance in instances:
        label_map[instance.mask] = instance.category
    return ShapeImage(np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8), label_map, instances)
