"""A small classifier with its images, and the listing of what a tool painted."""

from __future__ import annotations

import shutil
from pathlib import Path

from conftest import REPO, need_mmpretrain

CLASSIFIER = """
_base_ = ['{repo}/configs/_base_/models/imagenet_rest.py', '{repo}/configs/_base_/cls_runtime.py']
arch = dict(_delete_=True, embed_dims=(8, 16), depths=(1, 1), num_heads=(1, 2), sr_ratios=(2, 1))
model = dict(backbone=dict(arch=arch, out_indices=(1, )), head=dict(num_classes=2, in_channels=16))
data_preprocessor = dict(num_classes=2, mean=[127.5] * 3, std=[64.0] * 3, to_rgb=True)
pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=48), dict(type='PackInputs')]
train_dataloader = dict(batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
                        dataset=dict(type='CustomDataset', data_prefix='{data}', pipeline=pipeline))
test_dataloader = train_dataloader
test_evaluator = dict(type='Accuracy')
"""


def write_classifier(folder: Path, image: Path) -> Path:
    """Write a config of two classes with one image each into a folder, and return it."""
    need_mmpretrain()
    for name in ('disc', 'star'):
        (folder / 'data' / name).mkdir(parents=True)
        shutil.copy(image, folder / 'data' / name)
    (folder / 'classifier.py').write_text(CLASSIFIER.format(repo=REPO, data=folder / 'data'))
    return folder / 'classifier.py'


def listed(folder: str | Path) -> list[str]:
    """Return the files below a folder, as sorted relative paths."""
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob('*') if path.is_file())
