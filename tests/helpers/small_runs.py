"""Small runs to interrupt: a detector that counts epochs and a segmentor that counts iterations.

Both have stochastic depth, dropout or random augmentation, so that nothing stays the same by accident.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook

from mmrest.engine import build_runner, load_config, prepare_train

_ARCH = """dict(
    _delete_=True, embed_dims=(8, 16, 24, 32), depths=(1, 1, 2, 1), num_heads=(1, 2, 4, 8), sr_ratios=(8, 4, 2, 1))"""
DETECTOR = """
_base_ = '{repo}/configs/retinanet_rest_lite_fpn_shapes.py'
custom_imports = dict(imports=['mmrest'{imports}], allow_failed_imports=False)
model = dict(
    backbone=dict(drop_path_rate=0.3, arch=ARCH),
    neck=dict(in_channels=[16, 24, 32], out_channels=16),
    bbox_head=dict(in_channels=16, feat_channels=16, stacked_convs=1),
    test_cfg=dict(score_thr=0.0))
pipeline = [
    dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomChoiceResize', scales=[(48, 48), (64, 64)], keep_ratio=True),
    dict(type='PhotoMetricDistortion'), dict(type='RandomFlip', prob=0.5), dict(type='PackDetInputs')]
loader = dict(batch_size=2, num_workers={workers}, persistent_workers={workers} > 0)
train_dataloader = dict(**loader, dataset=dict(data_root='{data}/', pipeline=pipeline))
val_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False, dataset=dict(data_root='{data}/'))
val_evaluator = dict(ann_file='{data}/annotations/instances_val.json')
test_dataloader = val_dataloader
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=4, val_begin=100)
param_scheduler = [dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=12)]
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=1, max_keep_ckpts=2, save_best=None))
custom_hooks = [{hooks}]
visualizer = dict(vis_backends=[])
""".replace('ARCH', _ARCH)
SEGMENTOR = """
_base_ = '{repo}/configs/upernet_rest_lite_shapes.py'
custom_imports = dict(imports=['mmrest'{imports}], allow_failed_imports=False)
# Without class weights, for which mmseg has no place for ignored pixels.
head = dict(
    channels=8, num_classes=5, norm_cfg=dict(_delete_=True, type='BN'), dropout_ratio=0.1,
    loss_decode=dict(class_weight=None))
model = dict(
    data_preprocessor=dict(size=(64, 64)),
    backbone=dict(drop_path_rate=0.3, arch=ARCH),
    decode_head=dict(in_channels=[8, 16, 24, 32], **head),
    auxiliary_head=dict(in_channels=24, **head))
pipeline = [
    dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=(64, 64), ratio_range=(0.75, 1.5), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(64, 64), cat_max_ratio=0.9), dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'), dict(type='PackSegInputs')]
loader = dict(batch_size=2, num_workers={workers}, persistent_workers={workers} > 0)
train_dataloader = dict(**loader, dataset=dict(data_root='{data}', pipeline=pipeline))
val_dataloader = dict(batch_size=1, num_workers=0, persistent_workers=False, dataset=dict(data_root='{data}'))
test_dataloader = val_dataloader
train_cfg = dict(max_iters=20, val_begin=100)
param_scheduler = [dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=12)]
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=5, max_keep_ckpts=2, save_best=None))
custom_hooks = [{hooks}]
visualizer = dict(vis_backends=[])
""".replace('ARCH', _ARCH)
CONFIGS = dict(epochs=DETECTOR, iterations=SEGMENTOR)
_names = itertools.count()


def write_config(
    folder: Path,
    kind: str,
    repo: Path,
    data: Path | str,
    workers: int = 0,
    imports: str = '',
    hooks: str = '',
    more: str = '',
) -> str:
    """A config file of a run that counts 'epochs' or 'iterations'."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f'{kind}.py'
    path.write_text(CONFIGS[kind].format(repo=repo, data=data, workers=workers, imports=imports, hooks=hooks) + more)
    return str(path)


class SimulatedKill(Exception):
    """Takes the place of a signal in runs that share the process of the tests."""


class RecordLosses(Hook):
    """Writes down every loss to its last digit, and may end the run."""

    priority = 'HIGHEST'

    def __init__(self, kill_before: int | None = None) -> None:
        self.losses: dict[int, str] = {}
        self.kill_before = kill_before

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter + 1 == self.kill_before:
            raise SimulatedKill

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.losses[runner.iter + 1] = outputs['loss'].item().hex()


def build(config: str, work_dir: Path, resume: str | None = None, **options: Any):
    """A runner, as tools/train.py builds it."""
    cfg = load_config(config, options, str(work_dir))
    # mmengine tells runs in one process apart by name and second.
    cfg.experiment_name = f'run{next(_names)}'
    return build_runner(prepare_train(cfg, resume=resume), train=True)


def train(
    config: str, work_dir: Path, resume: str | None = None, kill_before: int | None = None, **options: Any
) -> dict[int, str]:
    """Train, and return the losses by iteration."""
    runner = build(config, work_dir, resume, **options)
    record = RecordLosses(kill_before)
    runner.register_hook(record)
    try:
        runner.train()
    except SimulatedKill:
        pass
    finally:
        stop_workers(runner)
    return record.losses


def stop_workers(runner: Any) -> None:
    """End a run's worker processes, which would otherwise wait for the garbage collector, and then for five seconds."""
    loop = runner.train_loop
    for owner in (loop.dataloader, getattr(loop, 'dataloader_iterator', None)):
        iterator = getattr(owner, '_iterator', None)
        if hasattr(iterator, '_shutdown_workers'):
            iterator._shutdown_workers()
