"""Short runs of detectors: mmdet's config with nothing but the backbone replaced, and a small one of ours."""

import re
from pathlib import Path


def steps(log: str) -> dict[tuple[int, int], str]:
    """(epoch, iteration) to learning rate, as printed."""
    return {(int(e), int(i)): lr for e, i, lr in re.findall(r'Epoch\(train\)\s+\[(\d+)\]\[\s*(\d+)/.*? lr: (\S+)', log)}


# Nothing of this repository but the import, the backbone and the channels of the neck.
UPSTREAM = """
_base_ = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'
custom_imports = dict(imports=['mmrest'], allow_failed_imports=False)
model = dict(
    backbone=dict(_delete_=True, type='ResT', arch='lite', out_indices=(1, 2, 3)),
    neck=dict(in_channels=[128, 256, 512], start_level=0))
"""


def upstream_options(shapes: Path) -> list[str]:
    """Two iterations on the drawn shapes, without validation."""
    return [
        f'train_dataloader.dataset.data_root={shapes}/',
        'train_dataloader.dataset.ann_file=annotations/instances_train.json',
        'train_dataloader.dataset.data_prefix.img=images/train/',
        "train_dataloader.dataset.metainfo.classes=('disc','square','triangle','star')",
        'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False',
        'train_dataloader.dataset.pipeline.2.scale=(128,128)',
        'train_dataloader.dataset.indices=4',
        'train_cfg.max_epochs=1',
        'val_cfg=None',
        'val_dataloader=None',
        'val_evaluator=None',
        'default_hooks.logger.interval=1',
    ]


# One block a stage and a narrow head: it is the plumbing that is run here.
SMALL = """
_base_ = '{repo}/configs/retinanet_rest_lite_fpn_shapes.py'
model = dict(
    backbone=dict(arch=dict(_delete_=True, embed_dims=(8, 16, 24, 32), depths=(1, 1, 1, 1),
                            num_heads=(1, 2, 4, 8), sr_ratios=(8, 4, 2, 1))),
    neck=dict(in_channels=[16, 24, 32], out_channels=16),
    bbox_head=dict(in_channels=16, feat_channels=16, stacked_convs=1),
    test_cfg=dict(score_thr=0.0))  # so little training finds nothing with certainty
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False)
val_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False)
test_dataloader = val_dataloader
train_cfg = dict(max_epochs={epochs})
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(max_keep_ckpts=-1))
"""
