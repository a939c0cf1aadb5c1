"""From the boxes of an exported detector to its detections."""

from __future__ import annotations

from typing import Any, Sequence

import torch


def apply_nms(
    boxes: Any,
    scores: Any,
    levels: Any,
    test_cfg: dict[str, Any],
    image_shapes: Sequence[tuple[int, int]] | None = None,
    scale_factors: Sequence[tuple[float, float]] | None = None,
) -> list[dict[str, torch.Tensor]]:
    """What mmdet does after its detector: leave out low scores, suppress overlapping boxes of a class, keep the best.

    On each level the ``nms_pre`` best boxes above ``score_thr`` go on, together they go through mmcv's ``nms``, and
    the ``max_per_img`` best remain.

    Args:
        boxes (Tensor | ndarray): (B, N, 4), of the exported detector, as the next two.
        scores (Tensor | ndarray): (B, N, classes).
        levels (Tensor | ndarray): (N,).
        test_cfg (dict): The detector's, or that of the file: ``read_metadata(path)['test_cfg']``.
        image_shapes (Sequence, optional): Height and width of each image in the batch without its padding; boxes are
            cut off there. None: nothing is padded.
        scale_factors (Sequence, optional): By how much each image was enlarged in width and in height; boxes are given
            in pixels of the image before that. None: they stay as they are.

    Returns:
        list[dict]: Of each image ``bboxes`` (n, 4), ``scores`` (n,) and ``labels`` (n,), the best first.
    """
    from mmcv.ops import batched_nms
    from mmdet.models.utils import filter_scores_and_topk

    boxes, scores, levels = (torch.as_tensor(x) for x in (boxes, scores, levels))
    results = []
    for i in range(len(boxes)):
        parts = []
        for level in range(int(levels.max()) + 1 if levels.numel() else 0):
            here = levels == level
            best, labels, _, rest = filter_scores_and_topk(
                scores[i, here], test_cfg.get('score_thr', 0), test_cfg.get('nms_pre', -1), boxes[i, here]
            )
            parts.append((rest, best, labels))
        found, best, labels = (torch.cat(part) for part in zip(*parts))
        if image_shapes is not None:
            height, width = image_shapes[i][:2]
            found = torch.minimum(found, found.new_tensor([width, height, width, height]))
        if scale_factors is not None:
            found = found * found.new_tensor([1 / factor for factor in scale_factors[i]]).repeat(2)
        least = test_cfg.get('min_bbox_size', -1)
        if least >= 0:
            kept = ((found[:, 2:] - found[:, :2]) > least).all(dim=1)
            found, best, labels = found[kept], best[kept], labels[kept]
        if len(found):
            kept_boxes, kept = batched_nms(found, best, labels, test_cfg['nms'])
            most = test_cfg['max_per_img']
            found, best, labels = found[kept][:most], kept_boxes[:most, -1], labels[kept][:most]
        results.append(dict(bboxes=found, scores=best, labels=labels))
    return results
