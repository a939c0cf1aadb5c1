"""Every config builds, says what its recipe says, takes a training step and predicts."""
from pathlib import Path

import pytest
import torch

pytest.importorskip('mmdet')

from mmdet.registry import MODELS  # noqa: E402
from mmdet.testing import demo_mm_inputs  # noqa: E402
from mmdet.utils import register_all_modules  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.optim import build_optim_wrapper  # noqa: E402

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
NAMES = sorted(path.name for path in CONFIGS.glob('*.py'))
COCO = [name for name in NAMES if name.endswith('_coco.py')]

# From the paper: parameters in millions (Table 6, RetinaNet, 80 classes), stochastic depth.
RETINANET_PARAMS = dict(small=23.4, base=40.5, large=61.8)
DROP_PATH = dict(lite=0.1, small=0.1, base=0.2, large=0.2)


@pytest.fixture(scope='module', autouse=True)
def mmdet_modules():
    register_all_modules(init_default_scope=True)


def read(name: str) -> Config:
    return Config.fromfile(CONFIGS / name)


def arch_of(name: str) -> str:
    return name.split('_rest_')[1].split('_')[0]


def test_the_promised_configs_are_there():
    assert {f'retinanet_rest_{arch}_fpn_1x_coco.py' for arch in DROP_PATH} <= set(NAMES)


@pytest.mark.parametrize('name', COCO)
def test_recipe(name):
    cfg = read(name)
    assert cfg.optim_wrapper.optimizer == dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05)
    assert cfg.train_cfg.max_epochs == 12
    assert [s.milestones for s in cfg.param_scheduler if s.type == 'MultiStepLR'] == [[8, 11]]
    assert all(s.gamma == 0.1 for s in cfg.param_scheduler if s.type == 'MultiStepLR')
    # 8 processes of 2 images.
    assert cfg.train_dataloader.batch_size * 8 == cfg.auto_scale_lr.base_batch_size == 16
    resize = next(t for t in cfg.train_dataloader.dataset.pipeline if 'Resize' in t.type)
    assert resize.keep_ratio and {max(scale) for scale in resize.scales} == {1333}
    sides = [min(scale) for scale in resize.scales]
    assert (min(sides), max(sides), len(sides)) == (480, 800, 11)
    assert cfg.model.backbone.drop_path_rate == DROP_PATH[arch_of(name)]
    assert cfg.train_dataloader.dataset.data_root == cfg.val_dataloader.dataset.data_root == 'data/coco/'
    assert cfg.custom_imports.imports == ['mmrest']


@pytest.mark.parametrize('name', COCO)
def test_no_weight_decay_on_norms_and_biases(name):
    cfg = read(name)
    model = MODELS.build(cfg.model)
    cfg.optim_wrapper.type = 'OptimWrapper'
    groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    decay = {id(p): group['weight_decay'] for group in groups for p in group['params']}
    norms = (torch.nn.LayerNorm, torch.nn.modules.batchnorm._BatchNorm)
    for prefix, module in model.named_modules():
        for leaf, param in module.named_parameters(recurse=False):
            free = isinstance(module, norms) or leaf == 'bias'
            assert decay[id(param)] == (0.0 if free else 0.05), f'{prefix}.{leaf}'


@pytest.mark.parametrize('arch', RETINANET_PARAMS)
def test_parameter_counts_of_the_paper(arch):
    model = MODELS.build(read(f'retinanet_rest_{arch}_fpn_1x_coco.py').model)
    assert model.bbox_head.num_classes == 80
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(RETINANET_PARAMS[arch], abs=0.1)


@pytest.mark.parametrize('name', [
    pytest.param(name, marks=pytest.mark.slow) if '_base_' in name or '_large_' in name else name for name in NAMES])
def test_training_step_and_prediction(name):
    cfg = read(name)
    model = MODELS.build(cfg.model)
    model.init_weights()
    data = demo_mm_inputs(2, image_shapes=[(3, 96, 128), (3, 70, 101)], num_items=[2, 0],
                          num_classes=cfg.model.bbox_head.num_classes)
    losses = model.train()(**model.data_preprocessor(data, True), mode='loss')
    total, _ = model.parse_losses(losses)
    total.backward()
    assert total.isfinite()
    assert not [key for key, p in model.named_parameters() if p.requires_grad and p.grad is None]
    with torch.no_grad():
        results = model.eval()(**model.data_preprocessor(data, False), mode='predict')
    for result, shape in zip(results, [(96, 128), (70, 101)]):
        boxes, labels = result.pred_instances.bboxes, result.pred_instances.labels
        assert result.img_shape == shape and boxes.shape == (len(labels), 4) and boxes.isfinite().all()
