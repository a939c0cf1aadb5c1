"""Conversion of the detectors of detectron2 to those of mmdet.

It follows the definitions of ``FPN``, ``RetinaNetHead``, ``StandardRPNHead``, ``FastRCNNConvFCHead``,
``FastRCNNOutputLayers``, ``MaskRCNNConvUpsampleHead`` and ``DefaultAnchorGenerator`` in detectron2. Most tensors are
renamed only, as both libraries agree:

* box deltas are (dx, dy, dw, dh), and the channels of an anchor or class are adjacent;
* background is the last class of a softmax, and has no box;
* RoI features are flattened as (C, H, W);
* anchors are centered on the corner of a cell (offset 0), and lengths do not include an extra pixel.

They differ in the order of the nine anchors of a cell in RetinaNet: ratios vary fastest in detectron2, and sizes in
mmdet.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Mapping

import torch
from torch import Tensor

from ..checkpoints import CheckpointError

RATIOS = (0.5, 1.0, 2.0)  # height / width
OCTAVES = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
# Sizes of the anchors in files of old versions of detectron2: RetinaNet P3 to P7, RPN P2 to P6.
ANCHOR_SIZES = {
    'retinanet': [[size * octave for octave in OCTAVES] for size in (32, 64, 128, 256, 512)],
    'mask_rcnn': [[size] for size in (32, 64, 128, 256, 512)],
}
# Mean and standard deviation of each channel in such files.
PIXEL_STATS = {
    'rest': ((103.53, 116.28, 123.675), (1.0, 1.0, 1.0)),
    'restv2': ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
}
BUFFERS = ('pixel_mean', 'pixel_std', 'anchor_generator.', 'proposal_generator.anchor_generator.')


def convert_detector(kind: str, tensors: Mapping[str, Tensor], source: str = 'the file') -> OrderedDict[str, Tensor]:
    """Convert all tensors of a detector except those of the backbone.

    Args:
        kind (str): 'retinanet' or 'mask_rcnn'.
        tensors (Mapping[str, Tensor]): Tensors of the file without those of the backbone.
        source (str): Name of the file for messages.

    Returns:
        OrderedDict[str, Tensor]: Tensors in the names and orders of mmdet's ``RetinaNet`` or ``MaskRCNN``.

    Raises:
        CheckpointError: A tensor is missing or unknown, or the anchors are not the defaults of detectron2.
    """
    buffers = {key: value for key, value in tensors.items() if key.startswith(BUFFERS)}
    _check_anchors(kind, buffers, source)
    names = {
        f'{old}.{leaf}': f'{new}.{leaf}' for old, new in detector_names(kind).items() for leaf in ('weight', 'bias')
    }
    missing = [key for key in names if key not in tensors]
    unknown = [key for key in tensors if key not in names and key not in buffers]
    for verb, keys in (('lacks', missing), ('has besides', unknown)):
        if keys:
            raise CheckpointError(
                f'The {kind} in {source} is not built as the published ones: it {verb} {len(keys)} '
                f'tensors, e.g. {", ".join(keys[:4])}. Its backbone alone can be had with --to '
                'backbone.'
            )
    converted = OrderedDict((new, tensors[old]) for old, new in names.items())
    _check_shapes(kind, converted, source)
    if kind == 'retinanet':
        for key in converted:
            if key.startswith(('bbox_head.retina_cls.', 'bbox_head.retina_reg.')):
                converted[key] = reorder_anchors(converted[key])
    return converted


def detector_names(kind: str) -> dict[str, str]:
    """Return the names of the layers in mmdet by their names in detectron2, where levels count log2 of the stride."""
    levels = {'retinanet': (3, 4, 5), 'mask_rcnn': (2, 3, 4, 5)}[kind]
    names = {}
    for i, level in enumerate(levels):
        names[f'backbone.fpn_lateral{level}'] = f'neck.lateral_convs.{i}.conv'
        names[f'backbone.fpn_output{level}'] = f'neck.fpn_convs.{i}.conv'
    if kind == 'retinanet':
        for i, level in enumerate((6, 7), start=len(levels)):
            names[f'backbone.top_block.p{level}'] = f'neck.fpn_convs.{i}.conv'
        for i in range(4):  # every other layer is a ReLU
            names[f'head.cls_subnet.{2 * i}'] = f'bbox_head.cls_convs.{i}.conv'
            names[f'head.bbox_subnet.{2 * i}'] = f'bbox_head.reg_convs.{i}.conv'
        names.update({'head.cls_score': 'bbox_head.retina_cls', 'head.bbox_pred': 'bbox_head.retina_reg'})
        return names
    names.update(
        {
            'proposal_generator.rpn_head.conv': 'rpn_head.rpn_conv',
            'proposal_generator.rpn_head.objectness_logits': 'rpn_head.rpn_cls',
            'proposal_generator.rpn_head.anchor_deltas': 'rpn_head.rpn_reg',
            'roi_heads.box_head.fc1': 'roi_head.bbox_head.shared_fcs.0',
            'roi_heads.box_head.fc2': 'roi_head.bbox_head.shared_fcs.1',
            'roi_heads.box_predictor.cls_score': 'roi_head.bbox_head.fc_cls',
            'roi_heads.box_predictor.bbox_pred': 'roi_head.bbox_head.fc_reg',
        }
    )
    for i in range(4):
        names[f'roi_heads.mask_head.mask_fcn{i + 1}'] = f'roi_head.mask_head.convs.{i}.conv'
    names.update(
        {
            'roi_heads.mask_head.deconv': 'roi_head.mask_head.upsample',
            'roi_heads.mask_head.predictor': 'roi_head.mask_head.conv_logits',
        }
    )
    return names


def reorder_anchors(tensor: Tensor) -> Tensor:
    """Reorder channels (sizes * ratios * n, ...) of detectron2 to (ratios * sizes * n, ...) of mmdet."""
    return tensor.unflatten(0, (len(OCTAVES), len(RATIOS), -1)).transpose(0, 1).flatten(0, 2)


def count_classes(kind: str, converted: Mapping[str, Tensor]) -> int:
    """Return the number of classes of a converted detector, without background."""
    if kind == 'retinanet':
        return converted['bbox_head.retina_cls.weight'].shape[0] // (len(OCTAVES) * len(RATIOS))
    return converted['roi_head.bbox_head.fc_cls.weight'].shape[0] - 1


def describe_normalization(version: str, tensors: Mapping[str, Tensor]) -> str:
    """Return a note on the mean and standard deviation in files of old versions of detectron2; '' without them."""
    found = [
        tuple(round(value, 3) for value in tensors[key].flatten().tolist())
        for key in ('pixel_mean', 'pixel_std')
        if key in tensors
    ]
    if len(found) < 2:
        return ''
    expected = PIXEL_STATS[version]
    note = f'Images: mean {found[0]}, std {found[1]}, according to the file'
    if all(math.isclose(a, b, abs_tol=0.01) for one, other in zip(found, expected) for a, b in zip(one, other)):
        return f'{note}; the published config has the same.'
    return (
        f'{note}. WARNING: the published config has mean {expected[0]}, std {expected[1]}; set model.data_preprocessor.'
    )


def _cell_anchors(sizes: list[float]) -> Tensor:
    """Return the anchors of a cell in the order of detectron2, (len(sizes) * 3, 4) as x1 y1 x2 y2 in pixels."""
    halves = [(size / math.sqrt(ratio) / 2, size * math.sqrt(ratio) / 2) for size in sizes for ratio in RATIOS]
    return torch.tensor([(-w, -h, w, h) for w, h in halves])


def _check_anchors(kind: str, buffers: Mapping[str, Tensor], source: str) -> None:
    for key, anchors in buffers.items():
        if '.cell_anchors.' not in f'.{key}':
            continue
        level = int(key.rsplit('.', 1)[1])
        sizes = ANCHOR_SIZES[kind][level : level + 1]
        expected = _cell_anchors(sizes[0]) if sizes else None
        if expected is None or anchors.shape != expected.shape or (anchors.cpu().float() - expected).abs().max() > 0.01:
            raise CheckpointError(
                f'The anchors of the {kind} in {source} are not the default ones of detectron2 '
                f'({key}: {anchors.tolist()}). The published detectors have those.'
            )


def _check_shapes(kind: str, converted: Mapping[str, Tensor], source: str) -> None:
    """Check that the numbers of anchors and classes fit together."""
    shapes = {key[: -len('.weight')]: value.shape[0] for key, value in converted.items() if key.endswith('.weight')}
    if kind == 'retinanet':
        anchors = len(OCTAVES) * len(RATIOS)
        good = shapes['bbox_head.retina_reg'] == 4 * anchors and shapes['bbox_head.retina_cls'] % anchors == 0
        seen = {key: shapes[key] for key in ('bbox_head.retina_cls', 'bbox_head.retina_reg')}
    else:
        classes = shapes['roi_head.bbox_head.fc_cls'] - 1
        good = (shapes['rpn_head.rpn_cls'], shapes['rpn_head.rpn_reg']) == (len(RATIOS), 4 * len(RATIOS)) and (
            shapes['roi_head.bbox_head.fc_reg'],
            shapes['roi_head.mask_head.conv_logits'],
        ) == (4 * classes, classes)
        seen = {
            key: shapes[key]
            for key in (
                'rpn_head.rpn_cls',
                'rpn_head.rpn_reg',
                'roi_head.bbox_head.fc_cls',
                'roi_head.bbox_head.fc_reg',
                'roi_head.mask_head.conv_logits',
            )
        }
    if not good:
        raise CheckpointError(
            f'The {kind} in {source} is not built as the published ones; the numbers of channels '
            f'that it predicts are {seen}.'
        )
