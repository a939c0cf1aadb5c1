"""A config of mmdet with nothing but the backbone replaced, and a short run of it."""

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
