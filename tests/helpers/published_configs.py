"""Configs for the authors' files, by name, and their models."""

from __future__ import annotations

import re

import torch
from conftest import REPO, need_mmpretrain
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from mmrest.engine.devices import replace_sync_bn

CONFIGS = REPO / 'configs' / 'published'


NAMES = sorted(path.stem.removesuffix('_3rdparty') for path in CONFIGS.glob('*.py'))


def parse(name: str) -> tuple[str, str, str]:
    """Kind, version and architecture that a name stands for."""
    kind, version, arch = re.match(r'(?:(retinanet|mask_rcnn|upernet)_)?(rest|restv2)_([a-z]+)_', name).groups()
    return kind or 'classifier', version, arch


def read(name: str) -> Config:
    cfg = Config.fromfile(CONFIGS / f'{name}_3rdparty.py')
    init_default_scope(cfg.default_scope)
    if cfg.default_scope == 'mmpretrain':
        need_mmpretrain()
    replace_sync_bn(cfg)
    return cfg


def build(cfg: Config, device: str = 'cpu') -> torch.nn.Module:
    with torch.device(device):
        if cfg.get('data_preprocessor'):
            cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
        return MODELS.build(cfg.model)
