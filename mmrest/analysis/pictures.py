"""Ground truth beside predictions, for looking at."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

COLOURS = ('tab:orange', 'tab:blue', 'tab:green', 'tab:red', 'tab:purple', 'tab:brown', 'tab:pink', 'tab:olive')


def plot_predictions(
    ann_file: str | Path,
    img_dir: str | Path,
    predictions: Sequence[dict],
    out: str | Path,
    num_images: int = 8,
    score_thr: float = 0.5,
) -> Path:
    """Draw images with their annotated boxes and, below each, with the predicted ones.

    Args:
        ann_file (str | Path): COCO instances json.
        img_dir (str | Path): Folder of its images.
        predictions (Sequence[dict]): As ``tools/test.py --out`` saves them: ``img_id`` and
            ``pred_instances`` with ``bboxes`` (n, 4) as x1 y1 x2 y2, ``scores`` (n, ), ``labels`` (n, ).
        out (str | Path): PNG file to write.
        num_images (int): The first that many images with objects.
        score_thr (float): Predictions below this score are not drawn.
    """
    import cv2
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from pycocotools.coco import COCO

    coco = COCO(str(ann_file))
    names = [category['name'] for category in coco.loadCats(coco.getCatIds())]
    by_image = {prediction['img_id']: prediction['pred_instances'] for prediction in predictions}
    ids = [i for i in sorted(by_image) if coco.getAnnIds(i)][:num_images]
    columns = min(4, max(len(ids), 1))
    rows = -(-len(ids) // columns)
    figure = Figure(figsize=(3 * columns, 6.2 * max(rows, 1)), layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.subplots(2 * max(rows, 1), columns, squeeze=False)
    for axis in axes.flat:
        axis.axis('off')
    for n, image_id in enumerate(ids):
        path = Path(img_dir) / coco.loadImgs(image_id)[0]['file_name']
        image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        upper, lower = axes[2 * (n // columns), n % columns], axes[2 * (n // columns) + 1, n % columns]
        upper.set_title(f'{path.name}: ground truth', fontsize=9)
        lower.set_title('predictions', fontsize=9)
        upper.imshow(image)
        lower.imshow(image)
        for annotation in coco.loadAnns(coco.getAnnIds(image_id)):
            label = coco.getCatIds().index(annotation['category_id'])
            crowd = annotation['iscrowd']
            _draw_box(upper, annotation['bbox'], names[label] + ' (crowd)' * crowd, label, dashed=bool(crowd))
        found = by_image[image_id]
        for box, score, label in zip(found['bboxes'].tolist(), found['scores'].tolist(), found['labels'].tolist()):
            if score >= score_thr:
                x1, y1, x2, y2 = box
                _draw_box(lower, (x1, y1, x2 - x1, y2 - y1), f'{names[label]} {score:.2f}', label)
    figure.suptitle(f'Ground truth, and predictions with a score of {score_thr} or more')
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110)
    return out


def _draw_box(axis, box: Sequence[float], text: str, label: int, dashed: bool = False) -> None:
    """Box as x, y, width, height in pixels."""
    from matplotlib.patches import Rectangle

    x, y, width, height = box
    colour = COLOURS[label % len(COLOURS)]
    axis.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor='white', linewidth=2.4))
    axis.add_patch(
        Rectangle((x, y), width, height, fill=False, edgecolor=colour, linewidth=1.4, linestyle='--' if dashed else '-')
    )
    axis.text(
        x,
        max(y, 6),
        text,
        fontsize=7,
        color='white',
        va='bottom',
        bbox=dict(facecolor=colour, edgecolor='none', pad=0.8, alpha=0.9),
    )
