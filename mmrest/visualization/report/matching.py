"""Detections of an image compared with its annotated objects, one to one.

mmdet's tool that draws confusion matrices is not part of its package, and counts an object again for every detection
that covers it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

# In place of a class: an object without a detection, or a detection without an object.
NOTHING = -1
Pairs = Counter[tuple[int, int]]  # (annotated class, predicted class)


@dataclass
class Boxes:
    """Boxes of an image.

    Attributes:
        boxes (np.ndarray): (n, 4), as x1 y1 x2 y2.
        labels (np.ndarray): (n,) integers.
    """

    boxes: np.ndarray
    labels: np.ndarray


def match_boxes(found: Boxes, objects: Boxes, ignored: Boxes, iou_thr: float = 0.5) -> Pairs:
    """Match detections with annotated objects.

    In their order, detections take the free object of their class with the highest IoU of at least ``iou_thr``. Of the
    rest, those that lie in an ignored region of their class are left out, as in COCO's evaluation. The others then take
    a free object of another class.

    Args:
        found (Boxes): Detections, the highest score first.
        objects (Boxes): Annotated objects.
        ignored (Boxes): Ignored regions, such as crowds.
        iou_thr (float): IoU from which a detection covers an object, and share of a detection from which it lies in an
            ignored region.

    Returns:
        Counter: How often each pair (annotated class, predicted class) occurs; :data:`NOTHING` is the class of what
            is left over.
    """
    pairs: Pairs = Counter()
    overlaps = _overlaps(found.boxes, objects.boxes, crowd=False)
    inside = _overlaps(found.boxes, ignored.boxes, crowd=True) >= iou_thr
    is_ignored = (inside & (ignored.labels == found.labels[:, None])).any(axis=1)
    free = np.ones(len(objects.labels), bool)
    left = list(range(len(found.labels)))
    for same_class in (True, False):
        rest = []
        for i in left:
            fits = free & (overlaps[i] >= iou_thr) & ((objects.labels == found.labels[i]) | (not same_class))
            if fits.any():
                j = int(np.where(fits, overlaps[i], -1).argmax())
                free[j] = False
                pairs[int(objects.labels[j]), int(found.labels[i])] += 1
            elif not is_ignored[i]:
                rest.append(i)
        left = rest
    for i in left:
        pairs[NOTHING, int(found.labels[i])] += 1
    for j in np.flatnonzero(free):
        pairs[int(objects.labels[j]), NOTHING] += 1
    return pairs


def _overlaps(boxes: np.ndarray, others: np.ndarray, crowd: bool) -> np.ndarray:
    """Return IoUs (n, m) of boxes with others, or with ``crowd`` the share of each box that lies in each other."""
    from pycocotools.mask import iou

    if not len(boxes) or not len(others):
        return np.zeros((len(boxes), len(others)))
    corners = (np.asarray(each, np.float64).reshape(-1, 4) for each in (boxes, others))
    first, second = (np.concatenate([each[:, :2], each[:, 2:] - each[:, :2]], axis=1) for each in corners)
    return iou(first, second, [int(crowd)] * len(second))
