"""A config for each row of the ResT paper's ablations: the recipe with one switch set; and every switch trains."""

import copy
import math
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmrest import ResTAblation

REPO = Path(__file__).resolve().parents[2]
ROWS = {
    'stem-resnet_8xb256': dict(stem='resnet'),
    'stem-pvt_8xb256': dict(stem='pvt'),
    'reduction-avgpool_8xb256': dict(reduction='avgpool'),
    'reduction-maxpool_8xb256': dict(reduction='maxpool'),
    'wo-in_8xb256': dict(head_interaction='conv'),
    'wo-conv-in_8xb256': dict(head_interaction='none'),
    'msa_8xb64': dict(attention='msa'),
    'position-none_8xb256': dict(position='none'),
    'position-le_8xb256': dict(position='le'),
    'position-gl_8xb256': dict(position='gl'),
    'position-gl-dw_8xb256': dict(position='gl_dw'),
}
PATHS = {row: REPO / f'configs/ablations/rest_lite_{row}-ablation_in1k.py' for row in ROWS}


def test_ablation_configs_are_those_of_the_rows():
    found = set((REPO / 'configs/ablations').glob('*_in1k.py'))
    baseline = REPO / 'configs/ablations/rest_lite_8xb256-ablation_in1k.py'
    assert found == {baseline, *PATHS.values()}


@pytest.mark.parametrize('row', ROWS)
def test_ablation_config_differs_from_the_recipe_in_one_switch(row):
    pytest.importorskip('mmpretrain.version')
    config = Config.fromfile(PATHS[row])
    recipe = Config.fromfile(REPO / 'configs/ablations/rest_lite_8xb256-ablation_in1k.py')
    assert config.model.backbone == {**recipe.model.backbone, 'type': 'ResTAblation', **ROWS[row]}
    ResTAblation(**{key: value for key, value in config.model.backbone.items() if key != 'type'})
    images = 8 * config.train_dataloader.batch_size
    assert config.auto_scale_lr.base_batch_size == images
    assert config.optim_wrapper.optimizer.lr == pytest.approx(0.1 * images / 512)
    for part in (config, recipe):  # what was compared already
        part.model.backbone, part.train_dataloader.batch_size = {}, 0
        part.auto_scale_lr.base_batch_size, part.optim_wrapper.optimizer.lr = 0, 0
    assert config.to_dict() == recipe.to_dict()


def test_ablation_docs_name_every_config():
    text = (REPO / 'docs/ablations.md').read_text()
    assert [path.stem for path in PATHS.values() if f'`{path.stem}`' not in text] == []


@pytest.fixture(scope='module')
def detector(repo, shapes):
    """Config of a small detector, and a batch of the shapes data as training gets it."""
    pytest.importorskip('mmdet')
    pytest.importorskip('mmcv._ext')
    from mmengine.registry import init_default_scope
    from mmengine.runner import Runner

    from mmrest.engine import load_config

    cfg = load_config(str(repo / 'configs/retinanet_rest_lite_fpn_shapes.py'), dict(data_root=f'{shapes}/'))
    cfg.train_dataloader.update(batch_size=4, num_workers=0, persistent_workers=False)
    init_default_scope('mmdet')
    cfg.model.backbone.arch = dict(
        embed_dims=(8, 16, 24, 32), depths=(1, 1, 1, 1), num_heads=(1, 2, 4, 8), sr_ratios=(8, 4, 2, 1)
    )
    cfg.model.neck.update(in_channels=[16, 24, 32], out_channels=16)
    cfg.model.bbox_head.update(in_channels=16, feat_channels=16, stacked_convs=1)
    return cfg, next(iter(Runner.build_dataloader(cfg.train_dataloader)))


@pytest.mark.parametrize('switches', [{}, *ROWS.values()], ids=str)
def test_ablation_switch_trained_on_shapes_lowers_the_loss(detector, switches):
    from mmengine.optim import build_optim_wrapper
    from mmengine.registry import MODELS

    cfg, batch = detector
    torch.manual_seed(0)
    model = MODELS.build({**cfg.model, 'backbone': {**cfg.model.backbone, 'type': 'ResTAblation', **switches}}).train()
    optim_wrapper = build_optim_wrapper(model, copy.deepcopy(cfg.optim_wrapper))
    losses = [model.train_step(copy.deepcopy(batch), optim_wrapper)['loss'].item() for _ in range(8)]
    assert [loss for loss in losses if not math.isfinite(loss)] == []
    assert losses[-1] < 0.9 * losses[0]
