"""The detectors of detectron2 in plain PyTorch: an independent implementation to compare converted models with.

Written from their published definitions: FPN with LastLevelP6P7 or LastLevelMaxPool, RetinaNet's head, the standard
RPN head, ROIAlignV2, the two-FC box head, the four-convolution mask head, box decoding and inference. ``w`` maps
published keys to tensors. It shares no code with the package, mmdet or mmcv.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

RATIOS = (0.5, 1.0, 2.0)
SCALE_CLAMP = math.log(1000.0 / 16)


def conv(w: dict, name: str, x: Tensor, stride: int = 1) -> Tensor:
    kernel = w[f'{name}.weight']
    return F.conv2d(x, kernel, w[f'{name}.bias'], stride=stride, padding=kernel.shape[-1] // 2)


def linear(w: dict, name: str, x: Tensor) -> Tensor:
    return x @ w[f'{name}.weight'].T + w[f'{name}.bias']


def fpn(w: dict, maps: dict[int, Tensor], retinanet: bool) -> dict[int, Tensor]:
    """Maps of the backbone by level (3: stride 8) to the pyramid by level, from fine to coarse."""
    outs, above = {}, None
    for level in sorted(maps, reverse=True):
        merged = conv(w, f'backbone.fpn_lateral{level}', maps[level])
        if above is not None:
            merged = merged + above.repeat_interleave(2, -1).repeat_interleave(2, -2)
        above = merged
        outs[level] = conv(w, f'backbone.fpn_output{level}', merged)
    if retinanet:
        outs[6] = conv(w, 'backbone.top_block.p6', maps[5], stride=2)
        outs[7] = conv(w, 'backbone.top_block.p7', outs[6].relu(), stride=2)
    else:
        outs[6] = outs[5][..., ::2, ::2]
    return dict(sorted(outs.items()))


def per_anchor(x: Tensor, values: int) -> Tensor:
    """(N, A * values, H, W) to (N, H * W * A, values)."""
    n, _, h, w = x.shape
    return x.reshape(n, -1, values, h, w).permute(0, 3, 4, 1, 2).reshape(n, -1, values)


def retinanet_head(w: dict, x: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Class logits (N, HWA, K) and deltas (N, HWA, 4) of a level."""

    def subnet(name, y):
        for i in (0, 2, 4, 6):
            y = conv(w, f'head.{name}.{i}', y).relu()
        return y

    logits = conv(w, 'head.cls_score', subnet('cls_subnet', x))
    return per_anchor(logits, num_classes), per_anchor(conv(w, 'head.bbox_pred', subnet('bbox_subnet', x)), 4)


def rpn_head(w: dict, x: Tensor) -> tuple[Tensor, Tensor]:
    """Objectness (N, HWA, 1) and deltas (N, HWA, 4) of a level."""
    x = conv(w, 'proposal_generator.rpn_head.conv', x).relu()
    return (
        per_anchor(conv(w, 'proposal_generator.rpn_head.objectness_logits', x), 1),
        per_anchor(conv(w, 'proposal_generator.rpn_head.anchor_deltas', x), 4),
    )


def box_head(w: dict, rois: Tensor) -> tuple[Tensor, Tensor]:
    """RoI features (R, C, 7, 7) to class logits (R, K + 1), background last, and deltas (R, K * 4)."""
    x = rois.reshape(len(rois), -1)
    for name in ('fc1', 'fc2'):
        x = linear(w, f'roi_heads.box_head.{name}', x).relu()
    return linear(w, 'roi_heads.box_predictor.cls_score', x), linear(w, 'roi_heads.box_predictor.bbox_pred', x)


def mask_head(w: dict, rois: Tensor) -> Tensor:
    """RoI features (R, C, 14, 14) to mask logits (R, K, 28, 28)."""
    for i in (1, 2, 3, 4):
        rois = conv(w, f'roi_heads.mask_head.mask_fcn{i}', rois).relu()
    name = 'roi_heads.mask_head.deconv'
    rois = F.conv_transpose2d(rois, w[f'{name}.weight'], w[f'{name}.bias'], stride=2).relu()
    return conv(w, 'roi_heads.mask_head.predictor', rois)


def retinanet_sizes(level: int) -> list[float]:
    return [4 * 2**level * 2 ** (i / 3) for i in range(3)]


def rpn_sizes(level: int) -> list[float]:
    return [8 * 2**level]


def anchors(level: int, shape: tuple[int, int], sizes: list[float]) -> Tensor:
    """(H * W * A, 4) corners: for each cell, for each size, for each ratio."""
    stride, boxes = 2**level, []
    for row in range(shape[0]):
        for column in range(shape[1]):
            for size in sizes:
                for ratio in RATIOS:
                    width = math.sqrt(size**2 / ratio)
                    height = width * ratio
                    x, y = column * stride, row * stride
                    boxes.append((x - width / 2, y - height / 2, x + width / 2, y + height / 2))
    return torch.tensor(boxes, dtype=torch.float64)


def decode(deltas: Tensor, boxes: Tensor, weights: tuple[float, ...] = (1, 1, 1, 1)) -> Tensor:
    """(R, K * 4) deltas and (R, 4) boxes to (R, K, 4) boxes."""
    deltas = deltas.reshape(len(deltas), -1, 4) / torch.tensor(weights, dtype=deltas.dtype)
    width, height = boxes[:, None, 2] - boxes[:, None, 0], boxes[:, None, 3] - boxes[:, None, 1]
    x = deltas[..., 0] * width + boxes[:, None, 0] + width / 2
    y = deltas[..., 1] * height + boxes[:, None, 1] + height / 2
    width = width * deltas[..., 2].clamp(max=SCALE_CLAMP).exp()
    height = height * deltas[..., 3].clamp(max=SCALE_CLAMP).exp()
    return torch.stack((x - width / 2, y - height / 2, x + width / 2, y + height / 2), dim=-1)


def clip(boxes: Tensor, shape: tuple[int, int]) -> Tensor:
    limit = torch.tensor((shape[1], shape[0], shape[1], shape[0]), dtype=boxes.dtype)
    return boxes.clamp(min=0).minimum(limit)


def iou(box: Tensor, others: Tensor) -> Tensor:
    corner = torch.maximum(box[:2], others[:, :2])
    size = (torch.minimum(box[2:], others[:, 2:]) - corner).clamp(min=0)
    area = (others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1])
    both = size[:, 0] * size[:, 1]
    return both / ((box[2] - box[0]) * (box[3] - box[1]) + area - both)


def nms(boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float, most: int) -> Tensor:
    """Indices that are kept, best first; only boxes of one group suppress each other."""
    order, kept = scores.argsort(descending=True).tolist(), []
    while order and len(kept) < most:
        best = order.pop(0)
        kept.append(best)
        if order:
            others = torch.tensor(order)
            drop = (groups[others] == groups[best]) & (iou(boxes[best], boxes[others]) > threshold)
            order = others[~drop].tolist()
    return torch.tensor(kept, dtype=torch.long)


def retinanet_inference(
    w: dict, pyramid: dict[int, Tensor], num_classes: int, shape: tuple[int, int], clip_first: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes, scores and classes of one image.

    detectron2 clips boxes to the image after the suppression, mmdet before: ``clip_first`` is mmdet's way.
    """
    boxes, scores, classes = [], [], []
    for level, x in pyramid.items():
        logits, deltas = retinanet_head(w, x, num_classes)
        probabilities = logits[0].sigmoid().flatten()
        keep = (probabilities > 0.05).nonzero()[:, 0]
        keep = keep[probabilities[keep].argsort(descending=True)[:1000]]
        which = keep // num_classes
        boxes.append(decode(deltas[0][which], anchors(level, x.shape[-2:], retinanet_sizes(level))[which])[:, 0])
        scores.append(probabilities[keep])
        classes.append(keep % num_classes)
    boxes, scores, classes = torch.cat(boxes), torch.cat(scores), torch.cat(classes)
    if clip_first:
        boxes = clip(boxes, shape)
    keep = nms(boxes, scores, classes, 0.5, 100)
    return clip(boxes[keep], shape), scores[keep], classes[keep]


def proposals(w: dict, pyramid: dict[int, Tensor], shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Boxes (P, 4) and objectness (P, ) of one image, best first."""
    boxes, scores, levels = [], [], []
    for level, x in pyramid.items():
        objectness, deltas = rpn_head(w, x)
        objectness = objectness[0, :, 0]
        keep = objectness.argsort(descending=True)[:1000]
        boxes.append(decode(deltas[0][keep], anchors(level, x.shape[-2:], rpn_sizes(level))[keep])[:, 0])
        scores.append(objectness[keep])
        levels.append(torch.full_like(keep, level))
    boxes, scores, levels = clip(torch.cat(boxes), shape), torch.cat(scores), torch.cat(levels)
    good = ((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])).nonzero()[:, 0]
    keep = good[nms(boxes[good], scores[good], levels[good], 0.7, 1000)]
    return boxes[keep], scores[keep]


def roi_align(x: Tensor, box: Tensor, stride: int, size: int) -> Tensor:
    """(C, H, W) and one box in px to (C, size, size): ROIAlignV2, samples as many as a bin has cells."""
    x1, y1, x2, y2 = (box / stride - 0.5).tolist()
    rows, columns = math.ceil((y2 - y1) / size), math.ceil((x2 - x1) / size)
    if not rows or not columns:
        return x.new_zeros(x.shape[0], size, size)

    def samples(start, end, count):
        step = (end - start) / size
        return torch.tensor(
            [start + step * (i + (j + 0.5) / count) for i in range(size) for j in range(count)], dtype=x.dtype
        )

    def weights(points, length):
        """(points, length): bilinear weights; none for points more than a cell outside."""
        inside = (points >= -1) & (points <= length)
        points = points.clamp(0, length - 1)
        low = points.floor().long()
        matrix = torch.zeros(len(points), length, dtype=x.dtype)
        matrix[torch.arange(len(points)), low] += 1 - (points - low)
        matrix[torch.arange(len(points)), (low + 1).clamp(max=length - 1)] += points - low
        return matrix * inside[:, None]

    across = weights(samples(x1, x2, columns), x.shape[2])
    down = weights(samples(y1, y2, rows), x.shape[1])
    values = torch.einsum('yh,chw,xw->cyx', down, x, across)
    return values.reshape(x.shape[0], size, rows, size, columns).mean(dim=(2, 4))


def pool(pyramid: dict[int, Tensor], boxes: Tensor, size: int) -> Tensor:
    """RoI features (R, C, size, size) of one image; each box from the level that its size calls for."""
    rois = []
    for box in boxes:
        length = math.sqrt((box[2] - box[0]) * (box[3] - box[1]))
        level = min(max(math.floor(4 + math.log2(length / 224 + 1e-8)), 2), 5)
        rois.append(roi_align(pyramid[level][0], box, 2**level, size))
    return torch.stack(rois)


def mask_rcnn_inference(
    w: dict, pyramid: dict[int, Tensor], shape: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Boxes (D, 4), scores (D, ), classes (D, ) and mask probabilities (D, 28, 28) of one image."""
    candidates, _ = proposals(w, pyramid, shape)
    logits, deltas = box_head(w, pool(pyramid, candidates, 7))
    boxes = clip(decode(deltas, candidates, (10, 10, 5, 5)), shape)
    probabilities = logits.softmax(-1)[:, :-1]
    rows, classes = (probabilities > 0.05).nonzero(as_tuple=True)
    boxes, scores = boxes[rows, classes], probabilities[rows, classes]
    keep = nms(boxes, scores, classes, 0.5, 100)
    boxes, scores, classes = boxes[keep], scores[keep], classes[keep]
    masks = mask_head(w, pool(pyramid, boxes, 14))
    return boxes, scores, classes, masks[torch.arange(len(classes)), classes].sigmoid()
