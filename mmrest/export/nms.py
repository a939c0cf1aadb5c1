"""Detections from the outputs of an exported detector, by non-maximum suppression."""

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
    """Apply the post-processing of mmdet's dense detectors to exported outputs.

    The ``nms_pre`` best boxes above ``score_thr`` of each level pass through the ``nms`` of mmcv together, and the
    ``max_per_img`` best of them are returned.

    Args:
        boxes (Tensor | ndarray): Output of the exported detector, (B, N, 4) as x1 y1 x2 y2 in pixels of the input.
        scores (Tensor | ndarray): Output, (B, N, classes).
        levels (Tensor | ndarray): Output, (N,).
        test_cfg (dict): Test config of the detector, e.g. ``read_metadata(path)['test_cfg']``.
        image_shapes (Sequence, optional): Height and width of each image without padding, to clip boxes to. Default:
            no padding.
        scale_factors (Sequence, optional): Scale factors of each image in width and height, to return boxes in pixels
            of the original images. Default: boxes stay in pixels of the input.

    Returns:
        list[dict]: For each image ``bboxes`` (n, 4), ``scores`` (n,) and ``labels`` (n,), sorted by score.
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
        min_size = test_cfg.get('min_bbox_size', -1)
        if min_size >= 0:
            kept = ((found[:, 2:] - found[:, :2]) > min_size).all(dim=1)
            found, best, labels = found[kept], best[kept], labels[kept]
        if len(found):
            kept_boxes, kept = batched_nms(found, best, labels, test_cfg['nms'])
            limit = test_cfg['max_per_img']
            found, best, labels = found[kept][:limit], kept_boxes[:limit, -1], labels[kept][:limit]
        results.append(dict(bboxes=found, scores=best, labels=labels))
    return results
