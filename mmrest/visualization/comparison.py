"""Annotated boxes beside predicted ones on one sheet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .files import save_picture
from .painting import Canvas, make_colors
from .sheet import contact_sheet


def plot_predictions(
    ann_file: str | Path,
    img_dir: str | Path,
    predictions: Sequence[dict],
    out: str | Path,
    num_images: int = 8,
    score_thr: float = 0.5,
) -> Path:
    """Draw images with their annotated boxes and, beside each, with the predicted ones.

    Args:
        ann_file (str | Path): COCO instances JSON.
        img_dir (str | Path): Folder of its images.
        predictions (Sequence[dict]): From ``tools/test.py --out``: ``img_id`` and ``pred_instances`` with ``bboxes``
            (n, 4) as x1 y1 x2 y2 in pixels, ``scores`` (n,) and ``labels`` (n,).
        out (str | Path): Image file to write.
        num_images (int): Number of images with annotations to draw, the first ones by their id.
        score_thr (float): Predictions below this score are left out.

    Raises:
        UsageError: The suffix of ``out`` is no image format.
    """
    import cv2
    from pycocotools.coco import COCO

    coco = COCO(str(ann_file))
    categories = coco.getCatIds()
    names = [category['name'] for category in coco.loadCats(categories)]
    colors = make_colors(len(names))
    found = {prediction['img_id']: prediction['pred_instances'] for prediction in predictions}
    tiles = []
    for image_id in [i for i in sorted(found) if coco.getAnnIds(i)][:num_images]:
        path = Path(img_dir) / coco.loadImgs(image_id)[0]['file_name']
        truth, predicted = (Canvas(cv2.imread(str(path))) for _ in range(2))
        for annotation in coco.loadAnns(coco.getAnnIds(image_id)):
            label = categories.index(annotation['category_id'])
            x, y, width, height = annotation['bbox']
            crowd = bool(annotation['iscrowd'])
            name = names[label] + ' (crowd)' * crowd
            truth.draw_box((x, y, x + width, y + height), colors[label], name, dashed=crowd)
        boxes, scores, labels = (np.asarray(found[image_id][key]) for key in ('bboxes', 'scores', 'labels'))
        for i in np.flatnonzero(scores >= score_thr):
            predicted.draw_box(boxes[i], colors[labels[i]], f'{names[labels[i]]} {scores[i]:.2f}')
        tiles += [(truth.render(), f'{path.name}: ground truth')]
        tiles += [(predicted.render(), f'predictions, score >= {score_thr:g}')]
    return save_picture(contact_sheet(tiles), Path(out))
