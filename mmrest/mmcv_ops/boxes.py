"""Non-maximum suppression and box overlaps, with the same results and order as mmcv 2.1.0.

Arguments are those of ``mmcv._ext``. Boxes are ``(n, 4)`` with rows ``x1, y1, x2, y2`` in px; with ``offset=1``, the
coordinates are inclusive, so that the width of a box is ``x2 - x1 + 1``.
"""

from __future__ import annotations

from typing import Iterator

import numpy as np
import torch
from torch import Tensor

from .common import as_compiled, torchvision_ops, upcast

NAIVE, LINEAR = 0, 1  # methods of soft NMS; the third is Gaussian
IOU = 0  # mode of bbox_overlaps; the other divides by the area of the first box


@as_compiled
def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Return the indices (k,) int64 of the boxes to keep, in order of decreasing score.

    mmcv orders equal scores differently than torchvision, whose sorting is stable. Therefore torchvision gets ranks
    instead of scores.
    """
    if boxes.numel() == 0:
        return torch.empty(0, dtype=torch.long, device=boxes.device)
    order = scores.sort(0, descending=True)[1]
    # Ranks above 2048 cannot be represented in half precision.
    boxes = boxes[order].to(torch.promote_types(boxes.dtype, torch.float32))
    if offset:
        boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
    ranks = torch.arange(len(order), 0, -1, device=boxes.device).to(boxes.dtype)
    return order[torchvision_ops().nms(boxes, ranks, iou_threshold)]


@as_compiled
def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Apply Soft-NMS (Bodla et al., 2017): write boxes and decayed scores to ``dets`` (n, 5).

    The box with the highest score is kept, the scores of the others decay with their overlap, and so on. mmcv calls
    this with CPU tensors only.

    Returns:
        Tensor: Indices (k,) int64 of the remaining boxes.
    """
    values = np.concatenate([upcast(boxes).numpy(), upcast(scores).numpy()[:, None]], axis=1)
    one = values.dtype.type(1)
    # Arrays that are permuted together: box and score, area, index.
    areas = _areas(values, values.dtype.type(offset))
    indices = np.arange(len(values))
    columns = (values, areas, indices)
    count, first = len(values), 0
    while first < count:
        best = first + int(values[first:count, 4].argmax())
        for column in columns:
            column[[first, best]] = column[[best, first]]
        rest = slice(first + 1, count)
        with np.errstate(invalid='ignore', divide='ignore'):
            overlaps = _overlaps(values[first], areas[first], values[rest], areas[rest], values.dtype.type(offset))
            if method == NAIVE:
                weights = np.where(overlaps >= iou_threshold, 0 * one, one)
            elif method == LINEAR:
                weights = np.where(overlaps >= iou_threshold, one - overlaps, one)
            else:
                weights = np.exp(-(overlaps * overlaps) / values.dtype.type(sigma))
        values[rest, 4] *= weights
        alive = ~(values[rest, 4] < min_score)
        # As in mmcv, the last box replaces a dropped one, which determines the order of equal scores.
        left = int(alive.sum())
        holes = first + 1 + np.flatnonzero(~alive[:left])
        movers = first + 1 + left + np.flatnonzero(alive[left:])[::-1]
        for column in columns:
            column[holes] = column[movers]
        first, count = first + 1, first + 1 + left
    dets[:count] = torch.from_numpy(values[:count]).to(dets)
    return torch.from_numpy(indices[:count])


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Return groups of indices into ``dets`` (n, 5), each a kept box followed by those it suppresses."""
    values = upcast(dets.detach()).cpu().numpy()
    order = upcast(dets.detach())[:, 4].sort(0, descending=True)[1].cpu().numpy()
    return list(_matches(values, _areas(values, values.dtype.type(0)), order, iou_threshold))


def _matches(values: np.ndarray, areas: np.ndarray, order: np.ndarray, iou_threshold: float) -> Iterator[list[int]]:
    while len(order):
        best, rest = order[0], order[1:]
        with np.errstate(invalid='ignore', divide='ignore'):
            same = _overlaps(values[best], areas[best], values[rest], areas[rest], values.dtype.type(0)) >= np.float32(
                iou_threshold
            )
        yield [int(best), *rest[same].tolist()]
        order = rest[~same]


def _areas(boxes: np.ndarray, offset: np.floating) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0] + offset) * (boxes[:, 3] - boxes[:, 1] + offset)


def _overlaps(
    box: np.ndarray, area: np.floating, boxes: np.ndarray, areas: np.ndarray, offset: np.floating
) -> np.ndarray:
    """Return the IoU of one box with others, with the rounding of mmcv."""
    low = np.maximum(box[:2], boxes[:, :2])
    high = np.minimum(box[2:4], boxes[:, 2:4])
    sides = np.maximum(high - low + offset, 0)
    common = sides[:, 0] * sides[:, 1]
    return common / (area + areas - common)


@as_compiled
def bbox_overlaps(bboxes1: Tensor, bboxes2: Tensor, ious: Tensor, mode: int, aligned: bool, offset: int) -> None:
    """Write the overlaps of boxes (m, 4) and (n, 4) to ``ious``: (m, n), or (m,) if ``aligned``."""
    first, second = (bboxes1, bboxes2) if aligned else (bboxes1[:, None], bboxes2[None])
    low = torch.maximum(first[..., :2], second[..., :2])
    high = torch.minimum(first[..., 2:], second[..., 2:])
    common = (high - low + offset).clamp(min=0).prod(-1)
    area = (first[..., 2:] - first[..., :2] + offset).prod(-1)
    if mode == IOU:
        area = area + (second[..., 2:] - second[..., :2] + offset).prod(-1) - common
    ious.copy_(common / area.clamp(min=offset) if offset else common / area)
