"""The examples of docs/examples as small projects: drawn data, a tiny backbone, narrow heads, two iterations."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from conftest import REPO, TINY
from mmengine.config import Config
from mmengine.runner import Runner

from mmrest import ResT, ResTv2
from mmrest.datasets import CLASSES

EXAMPLES = REPO / 'docs/examples'
DIMS = list(TINY['embed_dims'])
SIZE = (64, 64)
SEG_CLASSES = ('background', *CLASSES)
PALETTE = [[0, 0, 0], [220, 60, 60], [60, 180, 75], [70, 110, 230], [250, 190, 40]]

ROI = {
    'model.rpn_head.in_channels': 16,
    'model.rpn_head.feat_channels': 16,
    'model.roi_head.bbox_roi_extractor.out_channels': 16,
    'model.neck.out_channels': 16,
    'model.test_cfg.rcnn.score_thr': 0.0,
    'model.test_cfg.rcnn.max_per_img': 5,
}
BOX_HEAD = dict(in_channels=16, fc_out_channels=16, num_classes=len(CLASSES))
TRANSFORMER = {
    'model.encoder.num_layers': 1,
    'model.decoder.num_layers': 1,
    'model.num_queries': 10,
    'model.dn_cfg.group_cfg.num_dn_queries': 4,
    'model.test_cfg.max_per_img': 5,
}

# What makes each example small: neck and heads, and how many of the backbone's maps they take.
SMALL = dict(
    retinanet={
        'model.neck.out_channels': 16,
        'model.bbox_head.in_channels': 16,
        'model.bbox_head.feat_channels': 16,
        'model.bbox_head.num_classes': len(CLASSES),
        'model.test_cfg.score_thr': 0.0,
        'model.test_cfg.max_per_img': 5,
    },
    faster_rcnn={**ROI, **{f'model.roi_head.bbox_head.{key}': value for key, value in BOX_HEAD.items()}},
    cascade_rcnn={
        **ROI,
        'model.backbone.window_sizes': (8, 4, 2, 1),
        **{f'model.roi_head.bbox_head.{i}.{key}': value for i in range(3) for key, value in BOX_HEAD.items()},
    },
    rtmdet={
        'model.neck.out_channels': 16,
        'model.bbox_head.in_channels': 16,
        'model.bbox_head.feat_channels': 16,
        'model.bbox_head.num_classes': len(CLASSES),
        'model.bbox_head.exp_on_reg': True,  # else untrained weights may predict negative sides, and boxes are dropped
        'model.test_cfg.score_thr': 0.0,
        'model.test_cfg.max_per_img': 5,
    },
    dino={**TRANSFORMER, 'model.bbox_head.num_classes': len(CLASSES)},
    upernet={
        'model.auxiliary_head.in_channels': DIMS[2],
        'model.auxiliary_head.channels': 8,
        'model.auxiliary_head.num_classes': len(SEG_CLASSES),
        'model.decode_head.channels': 8,
    },
    segformer={'model.decode_head.channels': 8},
    mask2former={
        'model.decode_head.num_queries': 6,
        'model.decode_head.pixel_decoder.encoder.num_layers': 1,
        'model.decode_head.transformer_decoder.num_layers': 1,
        'model.decode_head.train_cfg.num_points': 64,
        'model.decode_head.loss_cls.class_weight': [1.0] * len(SEG_CLASSES) + [0.1],
    },
)
DETECTORS = ('retinanet', 'faster_rcnn', 'cascade_rcnn', 'rtmdet', 'dino')


def detection_data(shapes: Path) -> dict:
    """Return options for the drawn boxes at 64x64, with two batches of two to train on."""
    load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True)]
    resize = dict(type='Resize', scale=SIZE, keep_ratio=True)
    meta = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
    options = {
        'val_cfg': None,
        'val_dataloader': None,
        'val_evaluator': None,
        'train_cfg.max_epochs': 1,
        'train_dataloader.dataset.indices': 4,
    }
    for split, phase, pipeline in (
        ('train', 'train', [*load, resize, dict(type='PackDetInputs')]),
        ('val', 'test', [load[0], resize, load[1], dict(type='PackDetInputs', meta_keys=meta)]),
    ):
        options.update(
            {
                f'{phase}_dataloader.batch_size': 2,
                f'{phase}_dataloader.num_workers': 0,
                f'{phase}_dataloader.persistent_workers': False,
                f'{phase}_dataloader.pin_memory': False,
                f'{phase}_dataloader.dataset.serialize_data': False,  # which takes longer than the images
                f'{phase}_dataloader.dataset.data_root': f'{shapes}/',
                f'{phase}_dataloader.dataset.ann_file': f'annotations/instances_{split}.json',
                f'{phase}_dataloader.dataset.data_prefix.img': f'images/{split}/',
                f'{phase}_dataloader.dataset.metainfo': dict(classes=CLASSES),
                f'{phase}_dataloader.dataset.pipeline': pipeline,
            }
        )
    options['test_evaluator.ann_file'] = f'{shapes}/annotations/instances_val.json'
    return options


def segmentation_data(shapes: Path) -> dict:
    """Return options for the drawn label maps at 64x64, with two iterations of two images."""
    load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
    options = {
        'val_cfg': None,
        'val_dataloader': None,
        'val_evaluator': None,
        'train_cfg.max_iters': 2,
        'model.data_preprocessor.size': SIZE,
    }
    for split, phase in (('train', 'train'), ('val', 'test')):
        options.update(
            {
                f'{phase}_dataloader.batch_size': 2,
                f'{phase}_dataloader.num_workers': 0,
                f'{phase}_dataloader.persistent_workers': False,
                f'{phase}_dataloader.dataset': dict(
                    _delete_=True,
                    type='BaseSegDataset',
                    data_root=str(shapes),
                    img_suffix='.png',
                    seg_map_suffix='.png',
                    serialize_data=False,
                    data_prefix=dict(img_path=f'images/{split}', seg_map_path=f'labels/{split}'),
                    metainfo=dict(classes=SEG_CLASSES, palette=PALETTE),
                    pipeline=[*load, dict(type='PackSegInputs')],
                ),
            }
        )
    return options


def copy_example(name: str, folder: Path) -> Path:
    """Copy an example to a folder, with pretrained weights under the name that it expects."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f'{name}.py'
    shutil.copy(EXAMPLES / path.name, path)
    for published, backbone in (('rest_small', ResT), ('restv2_tiny', ResTv2)):
        torch.manual_seed(1)
        torch.save(dict(model=backbone(TINY).state_dict()), folder / f'{published}.pth')
    return path


def small_config(name: str, folder: Path, shapes: Path, **options) -> Config:
    """Copy an example to ``folder`` and return its config, with the options that make it small and further ones."""
    cfg = Config.fromfile(copy_example(name, folder))
    detects = name in DETECTORS
    neck, first = ('neck', 4 - len(cfg.model.neck.in_channels)) if detects else ('decode_head', 0)
    cfg.merge_from_dict(
        {
            'model.backbone.arch': dict(TINY, _delete_=True),
            'model.backbone.drop_path_rate': 0.0,
            'model.backbone.init_cfg.checkpoint': str(folder / cfg.model.backbone.init_cfg.checkpoint),
            f'model.{neck}.in_channels': DIMS[first:],
            **({} if detects else {'model.decode_head.num_classes': len(SEG_CLASSES)}),
            **(detection_data if detects else segmentation_data)(shapes),
            **SMALL[name],
            'default_hooks.logger.interval': 1,
            'randomness.seed': 0,
            'work_dir': str(folder / 'run'),
            'launcher': 'none',
            'experiment_name': f'{name}-{folder.name}',
            **options,
        }
    )
    return cfg


def predict(runner: Runner) -> list:
    """Return predictions for the first test batch."""
    batch = next(iter(runner.build_dataloader(runner.cfg.test_dataloader)))
    with torch.no_grad():
        return runner.model.eval().test_step(batch)
