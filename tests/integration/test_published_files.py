"""From a file of the authors to a figure: conversion, then testing."""

import re
import sys

import published_files as files
import pytest
import torch
from conftest import run_process
from published_files import save

from mmrest.datasets import CLASSES

CONFIG = """
_base_ = '{repo}/configs/published/{name}_3rdparty.py'
few = dict(num_workers=0, persistent_workers=False)
model = dict(backbone=dict(arch=dict(_delete_=True, **{arch})), **{heads})
"""


DETECTION = """
test_dataloader = dict(dataset=dict(data_root='{data}/', ann_file='annotations/instances_val.json',
                                    data_prefix=dict(img='images/val/'), metainfo=dict(classes={classes})), **few)
test_evaluator = dict(ann_file='{data}/annotations/instances_val.json')
"""


SEGMENTATION = """
classes = ('background', *{classes})
test_dataloader = dict(dataset=dict(
    type='BaseSegDataset', reduce_zero_label=True, data_root='{data}',
    metainfo=dict(classes=classes, palette=[[40 * i] * 3 for i in range(5)]),
    data_prefix=dict(img_path='images/val', seg_map_path='labels/val'), img_suffix='.png'), **few)
"""


def small_heads(layout: str) -> dict:
    """Settings of the heads that fit ``published_files.SMALL``."""
    dims = [8, 16, 24, 32]
    if layout == 'detectron2-retinanet':
        return dict(
            neck=dict(in_channels=dims[1:], out_channels=16),
            bbox_head=dict(in_channels=16, feat_channels=16, num_classes=4),
        )
    if layout == 'detectron2-mask_rcnn':
        return dict(
            neck=dict(in_channels=dims, out_channels=16),
            rpn_head=dict(in_channels=16, feat_channels=16),
            roi_head=dict(
                bbox_roi_extractor=dict(out_channels=16),
                mask_roi_extractor=dict(out_channels=16),
                bbox_head=dict(in_channels=16, fc_out_channels=32, num_classes=4),
                mask_head=dict(in_channels=16, conv_out_channels=16, num_classes=4),
            ),
        )
    return dict(
        decode_head=dict(in_channels=dims, channels=16, num_classes=5),
        auxiliary_head=dict(in_channels=dims[2], channels=8, num_classes=5),
    )


@pytest.mark.parametrize(
    'version, layout, name, metric',
    [
        pytest.param(
            'rest', 'detectron2-retinanet', 'retinanet_rest_small_fpn_1x_coco', 'bbox_mAP', marks=pytest.mark.slow
        ),
        pytest.param(
            'restv2', 'detectron2-mask_rcnn', 'mask_rcnn_restv2_tiny_fpn_3x_coco', 'segm_mAP', marks=pytest.mark.slow
        ),
        pytest.param(
            'restv2', 'mmseg-upernet', 'upernet_restv2_tiny_512x512_160k_ade20k', 'mIoU', marks=pytest.mark.slow
        ),
    ],
)
def test_convert_then_test_authors_file_prints_a_metric(repo, tiny, shapes, tmp_path, version, layout, name, metric):
    """The two commands that users type, on drawn images with an untrained network."""
    pytest.importorskip('mmcv._ext')
    classes = dict(num_classes=5 if layout == 'mmseg-upernet' else 4)
    state_dict = files.fill(
        files.WHOLE[layout](version, tiny, **{**files.SMALL[layout], **classes}), dtype=torch.float32
    )
    save(state_dict, tmp_path / 'theirs.pth', layout)
    run_process([sys.executable, repo / 'tools/convert_checkpoint.py', 'theirs.pth', 'ours.pth'], tmp_path)
    data = SEGMENTATION if layout == 'mmseg-upernet' else DETECTION
    (tmp_path / 'small.py').write_text(
        (CONFIG + data).format(repo=repo, name=name, arch=tiny, heads=small_heads(layout), data=shapes, classes=CLASSES)
    )
    options = (
        ['--tta']
        if layout == 'mmseg-upernet'
        else ['--cfg-options', 'test_dataloader.dataset.pipeline.1.scale=(96,96)']
    )
    out = run_process([sys.executable, repo / 'tools/test.py', 'small.py', 'ours.pth', *options], tmp_path)
    assert f"{len(state_dict)} tensors, 100.0% of the model's values, loaded from ours.pth" in out
    assert metric in out and not re.search(r'\d (missing|unexpected|mismatched):', out)
