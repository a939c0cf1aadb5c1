"""Recipes of the configs as the papers and the authors' repositories have them, stated here once more."""

import re

import pytest
import torch
from conftest import REPO, need_mmpretrain
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from mmrest.engine.devices import replace_amp, replace_sync_bn

CONFIGS = REPO / 'configs'


NAMES = sorted(path.stem for path in CONFIGS.glob('*.py'))


# <head>_<backbone>_<arch>_<the rest>
PATTERN = re.compile(r'(?:(retinanet|mask_rcnn|upernet)_)?(restv2|rest)_(lite|tiny|small|base|large)_(\S*)')


DROP_PATH = dict(
    rest=dict(lite=0.1, small=0.1, base=0.2, large=0.2), restv2=dict(tiny=0.1, small=0.2, base=0.3, large=0.5)
)


# The classification recipe of ResT differs from its detection recipe here.
DROP_PATH_IN1K = dict(DROP_PATH, rest=dict(lite=0.1, small=0.1, base=0.2, large=0.3))


DETECTION_1X = dict(
    optimizer='AdamW',
    lr=1e-4,
    weight_decay=0.05,
    batch=16,
    length=12,
    milestones=[8, 11],
    amp=False,
    sides=(480, 800),
    longest=1333,
)


DETECTION_3X = dict(DETECTION_1X, length=36, milestones=[27, 33], amp=True)


SEGMENTATION = dict(
    optimizer='AdamW',
    lr=6e-5,
    weight_decay=0.01,
    batch=16,
    length=160000,
    warmup=1500,
    poly=(1.0, 0.0),
    amp=False,
    crop=(512, 512),
    ratios=(0.5, 2.0),
    layer_decay=None,
)


SEGMENTATION_DECAY = dict(SEGMENTATION, lr=1.5e-4, weight_decay=0.05, layer_decay=0.9)


IN1K = dict(
    optimizer='AdamW',
    lr=5e-4,
    weight_decay=0.05,
    batch=2048,
    length=300,
    warmup=5,
    cosine=True,
    clip=5.0,
    amp=False,
    ema=False,
    smooth=0.1,
    test=(256, 224),
    augmentation=['CutMix', 'Mixup', 'RandAugment', 'RandomErasing'],
)


IN1K_V2 = dict(IN1K, lr=1.5e-4 * 2048 / 256, warmup=50, clip=1.0, ema=True)


IN1K_ABLATION = dict(
    IN1K,
    optimizer='SGD',
    lr=0.1 * 2048 / 512,
    weight_decay=1e-4,
    length=100,
    cosine=False,
    clip=None,
    milestones=[30, 60, 90],
    smooth=0.0,
    augmentation=[],
)


# Parameters in millions that the papers print.
PARAMS = dict(
    retinanet_rest_small_fpn_1x_coco=23.4,
    retinanet_rest_base_fpn_1x_coco=40.5,
    retinanet_rest_large_fpn_1x_coco=61.8,
    mask_rcnn_rest_small_fpn_1x_coco=33.3,
    mask_rcnn_rest_base_fpn_1x_coco=49.8,
    mask_rcnn_restv2_tiny_fpn_3x_coco=49.9,
    mask_rcnn_restv2_small_fpn_3x_coco=60.7,
    mask_rcnn_restv2_base_fpn_3x_coco=75.5,
    upernet_restv2_tiny_512x512_160k_ade20k=62.1,
    upernet_restv2_small_512x512_160k_ade20k=72.9,
    upernet_restv2_base_512x512_160k_ade20k=87.6,
)


def read(name: str) -> Config:
    return Config.fromfile(CONFIGS / f'{name}.py')


def build(cfg: Config, device: str = 'cpu') -> nn.Module:
    """The model, as the tools build it; on 'meta' it has names and shapes, and takes no time to draw weights."""
    if cfg.default_scope == 'mmpretrain':
        need_mmpretrain()
    pytest.importorskip(f'{cfg.default_scope}.utils').register_all_modules(False)
    init_default_scope(cfg.default_scope)
    replace_sync_bn(cfg)
    replace_amp(cfg)
    if cfg.get('data_preprocessor'):
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    with torch.device(device):
        return MODELS.build(cfg.model)


def recipe(name: str) -> dict:
    """Return the recipe that a config has to state."""
    head, backbone, arch, rest = PATTERN.fullmatch(name).groups()
    facts = dict(backbone=dict(rest='ResT', restv2='ResTv2')[backbone], arch=arch, drop_path=DROP_PATH[backbone][arch])
    if head == 'upernet':
        decays = backbone == 'restv2' and arch != 'tiny'
        return {**facts, **(SEGMENTATION_DECAY if decays else SEGMENTATION)}
    if head:
        return {
            **facts,
            **(DETECTION_3X if '_3x_' in rest else DETECTION_1X),
            'style': next((style for style in ('win', 'cwin', 'hwin') if rest.startswith(style)), None),
            'norms': 'none' if rest.endswith('wo-ln') else None,
        }
    if 'ablation' in rest:
        return {**facts, **IN1K_ABLATION, 'drop_path': 0.0}
    return {**facts, **(IN1K_V2 if backbone == 'restv2' else IN1K), 'drop_path': DROP_PATH_IN1K[backbone][arch]}
