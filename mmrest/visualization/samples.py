"""Drawings of the data samples of mmdet, mmseg and mmpretrain.

One function serves the samples of all three libraries, whose visualizers each draw their own kind only.
"""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np
from mmengine.fileio import get

from .painting import Canvas, as_picture, make_colors

KINDS = ('instances', 'sem_seg', 'panoptic_seg', 'label')
IGNORED_COLOR = (150, 150, 150)
# Panoptic maps of mmdet hold the class plus this offset times the number of the instance.
INSTANCE_OFFSET = 1000


def read_image(sample: Any, inputs: Any = None) -> np.ndarray:
    """Read the image that a data sample belongs to, for :func:`draw_sample`.

    Args:
        sample (BaseDataElement): With ``img_path``, and ``ori_shape`` (H, W).
        inputs (Tensor, optional): (C, H, W), the image that the pipeline gives. It is used, in the original size, if
            only the pipeline can read the file, if it has values above 255, or if the sample has no path.

    Returns:
        np.ndarray: (H, W, 3) uint8 in BGR.

    Raises:
        ValueError: The file cannot be read, and there are no inputs.
        OSError: There is no such file.
    """
    import cv2
    import mmcv

    path, image = sample.get('img_path'), None
    # Of 16 bits, the decoder keeps the upper eight, which leaves images of 12 bits nearly black.
    is_deep = inputs is not None and bool(inputs.max() > 255)
    if path and not is_deep:
        try:
            image = mmcv.imfrombytes(get(path), channel_order='bgr')
        except cv2.error:  # an empty file; None for what it does not know
            pass
    if image is None and inputs is None:
        raise ValueError(f'{path or "the image"} can be read by the pipeline only')
    if image is None:
        picture = as_picture(inputs.permute(1, 2, 0).cpu().numpy())[..., ::-1]
        image = mmcv.imresize(np.ascontiguousarray(picture), sample.ori_shape[1::-1])
    return image


def draw_sample(
    image: np.ndarray,
    sample: Any,
    classes: Sequence[str] = (),
    palette: Sequence[Sequence[int]] | None = None,
    truth: bool = False,
    score_thr: float = 0.3,
) -> np.ndarray:
    """Draw the predictions, or the annotations, of a data sample.

    These are boxes and masks of instances, label maps, panoptic maps and labels of images, as far as the sample has
    them.

    Args:
        image (np.ndarray): As :func:`as_picture` takes it, in the size that the coordinates of the sample refer to.
        sample (BaseDataElement): Data sample of any of the libraries.
        classes (Sequence[str]): Names of the classes; classes without a name are numbered.
        palette (Sequence, optional): RGB colors of the classes. It is ignored if its length is not the number of
            classes, as then it belongs to the default classes of a dataset whose config replaces them.
        truth (bool): Draw annotations instead of predictions.
        score_thr (float): Predicted instances below this score are left out.

    Returns:
        np.ndarray: (H, W, 3) uint8 in RGB; small images are enlarged.

    Raises:
        ValueError: The sample has neither of them.
    """
    prefix = 'gt_' if truth else 'pred_'
    found = {kind: sample.get(prefix + kind) for kind in KINDS if prefix + kind in sample}
    if not found:
        raise ValueError(f'there is nothing to draw in it, only {", ".join(sample.keys()) or "nothing at all"}')
    # In mmdet a palette may also be a name.
    palette = palette if palette and len(palette) == len(classes) and not isinstance(palette, str) else None
    canvas = Canvas(image)
    if 'panoptic_seg' in found:
        _draw_panoptic(canvas, _array(found['panoptic_seg'].sem_seg)[0], classes, palette)
    elif 'sem_seg' in found:
        data = found['sem_seg'].get('sem_seg', found['sem_seg'].get('data'))
        labels = _array(data)[0].astype(np.int64)
        names = _names(classes, labels[labels != 255])
        canvas.draw_label_map(labels, names, make_colors(len(names), palette))
    elif 'instances' in found:
        if truth and 'ignored_instances' in sample:
            for box in _boxes(sample.ignored_instances):
                canvas.draw_box(box, IGNORED_COLOR, 'ignored', dashed=True)
        _draw_instances(canvas, found['instances'], classes, palette, score_thr)
    if 'label' in found:
        canvas.draw_lines(_lines(found['label'], sample, classes, truth))
    return canvas.render()


def find_highest_score(sample: Any) -> float | None:
    """Return the highest score of the predicted instances that :func:`draw_sample` draws.

    Args:
        sample (BaseDataElement): Data sample with predictions.

    Returns:
        float | None: 0 without an instance; None for label maps, panoptic maps, classes, and instances without scores.
    """
    instances = sample.get('pred_instances')
    if instances is None or 'scores' not in instances or 'pred_panoptic_seg' in sample or 'pred_sem_seg' in sample:
        return None
    return float(_array(instances.scores).max(initial=0.0))


def _draw_instances(canvas: Canvas, instances: Any, classes: Sequence[str], palette: Any, score_thr: float) -> None:
    labels = _array(instances.get('labels', np.zeros(len(instances)))).astype(np.int64)
    scores = _array(instances.scores) if 'scores' in instances else None
    names = _names(classes, labels)
    colors = make_colors(len(names), palette)
    boxes = _boxes(instances)
    masks = instances.get('masks')
    masks = masks.to_ndarray() if hasattr(masks, 'to_ndarray') else None if masks is None else _array(masks)
    order = range(len(labels)) if scores is None else [i for i in np.argsort(-scores) if scores[i] >= score_thr]
    order = list(order)
    if masks is not None:
        for i in reversed(order):  # the highest score on top
            canvas.draw_mask(masks[i].astype(bool), colors[labels[i]])
    for i in order:
        name = names[labels[i]] + ('' if scores is None else f' {scores[i]:.2f}')
        if len(boxes) and np.ptp(boxes[i]):
            canvas.draw_box(boxes[i], colors[labels[i]], name)
        elif masks is not None and masks[i].any():  # a detector without boxes
            y, x = np.nonzero(masks[i])
            canvas.draw_box((x.min(), y.min(), x.max() + 1, y.max() + 1), colors[labels[i]], name)


def _draw_panoptic(canvas: Canvas, ids: np.ndarray, classes: Sequence[str], palette: Any) -> None:
    """Draw a map (H, W) of class + 1000 * number of the instance, in which the class after the last is void."""
    colors = make_colors(len(classes), palette)
    canvas.draw_label_map(np.where(ids % INSTANCE_OFFSET < len(classes), ids % INSTANCE_OFFSET, -1), classes, colors)
    for one in np.unique(ids):
        if one >= INSTANCE_OFFSET and one % INSTANCE_OFFSET < len(classes):
            canvas.draw_mask(ids == one, colors[one % INSTANCE_OFFSET], alpha=0.0)


def _lines(labels: Any, sample: Any, classes: Sequence[str], truth: bool) -> list[str]:
    """Return the classes of an image, or the three most likely ones with their scores."""
    if not truth and 'pred_score' in sample:
        scores = _array(sample.pred_score)
        names = _names(classes, [len(scores) - 1])
        return [f'{names[i]} {scores[i]:.2f}' for i in np.argsort(-scores)[:3]]
    labels = np.atleast_1d(_array(labels)).astype(np.int64)
    names = _names(classes, labels)
    return [names[i] for i in labels]


def _names(classes: Sequence[str], labels: Any) -> list[str]:
    """Return names for all labels, with numbers for classes that the config does not name."""
    most = int(max(labels, default=-1)) if not isinstance(labels, np.ndarray) else int(labels.max(initial=-1))
    return [*classes, *(f'class {i}' for i in range(len(classes), most + 1))]


def _boxes(instances: Any) -> np.ndarray:
    """Return the boxes (n, 4) of instances, or (0, 4) if they have none."""
    boxes = instances.get('bboxes')
    if boxes is None:
        return np.zeros((0, 4))
    return _array(getattr(boxes, 'tensor', boxes)).reshape(-1, 4)


def _array(value: Any) -> np.ndarray:
    return value.detach().cpu().numpy() if hasattr(value, 'detach') else np.asarray(value)
