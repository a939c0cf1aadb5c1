"""Data samples of mmdet, mmseg and mmpretrain on a picture."""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np

from .painting import Painting, make_colours

KINDS = ('instances', 'sem_seg', 'panoptic_seg', 'label')
CROWD = (150, 150, 150)
# mmdet's panoptic maps hold the class plus this times a running number.
INSTANCE_OFFSET = 1000


def draw_sample(
    image: np.ndarray,
    sample: Any,
    classes: Sequence[str] = (),
    palette: Sequence[Sequence[int]] | None = None,
    truth: bool = False,
    score_thr: float = 0.3,
) -> np.ndarray:
    """Draw the predictions, or the annotations, of a data sample.

    Boxes and masks of instances, label maps, panoptic maps and labels of whole images: what is there.

    Args:
        image (np.ndarray): As :func:`as_picture` takes it, in the size that the sample's coordinates are in.
        sample (BaseDataElement): Of any of the libraries.
        classes (Sequence[str]): Names of the classes; without, they are numbered.
        palette (Sequence, optional): RGB colours of the classes. Another number of colours than of classes is that of
            other classes, which a dataset's type has and its config replaces: it is not used.
        truth (bool): Annotations instead of predictions.
        score_thr (float): Predicted instances below this score are left out.

    Returns:
        np.ndarray: RGB uint8. Small images come out enlarged.

    Raises:
        ValueError: The sample holds nothing of the kind.
    """
    prefix = 'gt_' if truth else 'pred_'
    found = {kind: sample.get(prefix + kind) for kind in KINDS if prefix + kind in sample}
    if not found:
        raise ValueError(f'there is nothing to draw in it, only {", ".join(sample.keys()) or "nothing at all"}')
    # mmdet also knows palettes by name.
    palette = palette if palette and len(palette) == len(classes) and not isinstance(palette, str) else None
    painting = Painting(image)
    if 'panoptic_seg' in found:
        _draw_panoptic(painting, _array(found['panoptic_seg'].sem_seg)[0], classes, palette)
    elif 'sem_seg' in found:
        data = found['sem_seg'].get('sem_seg', found['sem_seg'].get('data'))
        labels = _array(data)[0].astype(np.int64)
        names = _names(classes, labels[labels != 255])
        painting.label_map(labels, names, make_colours(len(names), palette))
    elif 'instances' in found:
        if truth and 'ignored_instances' in sample:
            for box in _boxes(sample.ignored_instances):
                painting.box(box, CROWD, 'ignored', dashed=True)
        _draw_instances(painting, found['instances'], classes, palette, score_thr)
    if 'label' in found:
        painting.heading(_lines(found['label'], sample, classes, truth))
    return painting.finish()


def _draw_instances(painting: Painting, instances: Any, classes: Sequence[str], palette: Any, score_thr: float) -> None:
    labels = _array(instances.get('labels', np.zeros(len(instances)))).astype(np.int64)
    scores = _array(instances.scores) if 'scores' in instances else None
    names = _names(classes, labels)
    colours = make_colours(len(names), palette)
    boxes = _boxes(instances)
    masks = instances.get('masks')
    masks = masks.to_ndarray() if hasattr(masks, 'to_ndarray') else None if masks is None else _array(masks)
    order = range(len(labels)) if scores is None else [i for i in np.argsort(-scores) if scores[i] >= score_thr]
    order = list(order)
    if masks is not None:
        for i in reversed(order):  # the surest on top
            painting.mask(masks[i].astype(bool), colours[labels[i]])
    for i in order:
        name = names[labels[i]] + ('' if scores is None else f' {scores[i]:.2f}')
        if len(boxes) and np.ptp(boxes[i]):
            painting.box(boxes[i], colours[labels[i]], name)
        elif masks is not None and masks[i].any():  # a detector without boxes
            y, x = np.nonzero(masks[i])
            painting.box((x.min(), y.min(), x.max() + 1, y.max() + 1), colours[labels[i]], name)


def _draw_panoptic(painting: Painting, ids: np.ndarray, classes: Sequence[str], palette: Any) -> None:
    """(H, W) of class + 1000 x number of the instance; the class after the last is no class."""
    colours = make_colours(len(classes), palette)
    painting.label_map(np.where(ids % INSTANCE_OFFSET < len(classes), ids % INSTANCE_OFFSET, -1), classes, colours)
    for one in np.unique(ids):
        if one >= INSTANCE_OFFSET and one % INSTANCE_OFFSET < len(classes):
            painting.mask(ids == one, colours[one % INSTANCE_OFFSET], alpha=0.0)


def _lines(labels: Any, sample: Any, classes: Sequence[str], truth: bool) -> list[str]:
    """The class of an image, or the three likeliest ones with their scores."""
    if not truth and 'pred_score' in sample:
        scores = _array(sample.pred_score)
        names = _names(classes, [len(scores) - 1])
        return [f'{names[i]} {scores[i]:.2f}' for i in np.argsort(-scores)[:3]]
    labels = np.atleast_1d(_array(labels)).astype(np.int64)
    names = _names(classes, labels)
    return [names[i] for i in labels]


def _names(classes: Sequence[str], labels: Any) -> list[str]:
    """Names for all labels, also where the config gives none."""
    most = int(max(labels, default=-1)) if not isinstance(labels, np.ndarray) else int(labels.max(initial=-1))
    return [*classes, *(f'class {i}' for i in range(len(classes), most + 1))]


def _boxes(instances: Any) -> np.ndarray:
    """(n, 4), or empty where there are none."""
    boxes = instances.get('bboxes')
    if boxes is None:
        return np.zeros((0, 4))
    return _array(getattr(boxes, 'tensor', boxes)).reshape(-1, 4)


def _array(value: Any) -> np.ndarray:
    return value.detach().cpu().numpy() if hasattr(value, 'detach') else np.asarray(value)
