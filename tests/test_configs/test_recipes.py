"""Every config states its recipe, builds, and has the parameters and channels of its model."""

import copy
import json
import re

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from torch import nn

from mmrest.datasets import CLASSES
from mmrest.engine import validation

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

from helpers.recipes import DROP_PATH, NAMES, PARAMS, PATTERN, build, read, recipe  # noqa: E402


def stated(cfg: Config) -> dict:
    """Return the settings of a config in the terms of the recipes."""
    optimizer, backbone = cfg.optim_wrapper.optimizer, cfg.model.backbone
    pipeline = cfg.train_dataloader.dataset.pipeline
    steps = {step['type']: step for step in pipeline}
    schedulers = {scheduler['type']: scheduler for scheduler in cfg.param_scheduler}
    batch = cfg.auto_scale_lr.base_batch_size
    assert batch == 8 * cfg.train_dataloader.batch_size, 'the batch is that of 8 processes'
    facts = dict(
        backbone=backbone.type,
        arch=backbone.arch,
        drop_path=backbone.drop_path_rate,
        optimizer=optimizer.type,
        lr=pytest.approx(optimizer.lr),
        weight_decay=optimizer.weight_decay,
        batch=batch,
        length=cfg.train_cfg.get('max_epochs') or cfg.train_cfg.max_iters,
        amp=cfg.optim_wrapper.get('type') == 'AmpOptimWrapper',
    )
    if 'MultiStepLR' in schedulers:
        assert schedulers['MultiStepLR'].gamma == 0.1
        facts['milestones'] = schedulers['MultiStepLR'].milestones
    if cfg.default_scope == 'mmdet':
        resize = steps['RandomChoiceResize']
        sides = [min(scale) for scale in resize.scales]
        (longest,) = {max(scale) for scale in resize.scales}
        assert resize.keep_ratio
        return {
            **facts,
            'sides': (min(sides), max(sides)),
            'longest': longest,
            'style': backbone.get('style'),
            'norms': backbone.get('out_norm'),
        }
    warmup = schedulers['LinearLR']
    facts['warmup'] = warmup.end - warmup.begin
    if cfg.default_scope == 'mmseg':
        poly = schedulers['PolyLR']
        assert poly.begin == warmup.end and poly.end == cfg.train_cfg.max_iters
        return {
            **facts,
            'poly': (poly.power, poly.eta_min),
            'crop': tuple(steps['RandomCrop'].crop_size),
            'ratios': tuple(steps['RandomResize'].ratio_range),
            'layer_decay': cfg.optim_wrapper.paramwise_cfg.get('layer_decay_rate'),
        }
    assert warmup.by_epoch and warmup.convert_to_iter_based
    if 'CosineAnnealingLR' in schedulers:
        cosine = schedulers['CosineAnnealingLR']
        assert cosine.by_epoch and (cosine.begin, cosine.end) == (warmup.end, cfg.train_cfg.max_epochs)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        assert loader.pin_memory and loader.persistent_workers and loader.collate_fn.type == 'default_collate'
    augments = [one['type'] for one in cfg.model.get('train_cfg', {}).get('augments', [])]
    test = {step['type']: step for step in cfg.test_dataloader.dataset.pipeline}
    return {
        **facts,
        'cosine': 'CosineAnnealingLR' in schedulers,
        'clip': (cfg.optim_wrapper.get('clip_grad') or {}).get('max_norm'),
        'ema': any(hook.type == 'EMAHook' for hook in cfg.get('custom_hooks', [])),
        'smooth': cfg.model.head.loss.get('label_smooth_val', 0.0),
        'augmentation': sorted(augments + [key for key in ('RandAugment', 'RandomErasing') if key in steps]),
        'test': (test['ResizeEdge'].scale, test['CenterCrop'].crop_size),
    }


def check_param_groups(cfg: Config, model: nn.Module) -> None:
    """Norms, and outside of segmentation biases, have no weight decay; learning rates decay by stage."""
    wrapper = build_optim_wrapper(model, copy.deepcopy(cfg.optim_wrapper))
    group_of = {id(param): group for group in wrapper.optimizer.param_groups for param in group['params']}
    lr, weight_decay = cfg.optim_wrapper.optimizer.lr, cfg.optim_wrapper.optimizer.weight_decay
    rate = cfg.optim_wrapper.get('paramwise_cfg', {}).get('layer_decay_rate', 1.0)
    plain = cfg.optim_wrapper.optimizer.type == 'SGD'
    norms = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)
    for prefix, module in model.named_modules():
        for leaf, param in module.named_parameters(recurse=False):
            free = isinstance(module, norms) or leaf == 'bias' and cfg.default_scope != 'mmseg'
            group, name = group_of[id(param)], f'{prefix}.{leaf}'
            assert group['weight_decay'] == (0.0 if free and not plain else weight_decay), name
            stage = re.match(r'backbone\.(?:stage|patch_|patch_embed_|norm)(\d)\.', name)
            above = 5 if name.startswith('backbone.stem') else 5 - int(stage[1]) if stage else 0
            assert group['lr'] == pytest.approx(lr * rate**above), name


def test_recipe_parameter_counts_equal_the_papers(external):
    tables = json.loads((external / 'spec/paper_tables.json').read_text())
    for name, count in PARAMS.items():
        head, backbone, arch, rest = PATTERN.fullmatch(name).groups()
        key = 'upernet_160k_ade20k_512' if head == 'upernet' else f'{head}_{"3x" if "_3x_" in rest else "1x"}_coco'
        columns = tables[key]['columns']
        assert dict(zip(columns, tables[key][f'{backbone}_{arch}']))['params_M'] == count


def test_promised_configs_exist():
    promised = {f'retinanet_rest_{arch}_fpn_1x_coco' for arch in ('lite', 'small', 'base', 'large')}
    promised |= {f'retinanet_rest_{arch}_fpn_1x_coco_wo-ln' for arch in ('small', 'base')}
    promised |= {f'mask_rcnn_rest_{arch}_fpn_1x_coco' for arch in ('small', 'base', 'large')}
    promised |= {f'retinanet_restv2_{arch}_fpn_1x_coco' for arch in ('tiny', 'small', 'base')}
    for length in ('1x', '3x'):
        promised |= {f'mask_rcnn_restv2_{arch}_fpn_{length}_coco' for arch in DROP_PATH['restv2']}
    promised |= {f'mask_rcnn_restv2_tiny_{style}_fpn_1x_coco' for style in ('win', 'cwin', 'hwin')}
    promised |= {f'upernet_rest_{arch}_512x512_160k_ade20k' for arch in ('small', 'base')}
    promised |= {f'upernet_restv2_{arch}_512x512_160k_ade20k' for arch in DROP_PATH['restv2']}
    promised |= {f'{backbone}_{arch}_8xb256_in1k' for backbone, archs in DROP_PATH.items() for arch in archs}
    promised |= {'mask_rcnn_rest_lite_fpn_shapes', 'retinanet_rest_lite_fpn_shapes', 'upernet_rest_lite_shapes'}
    assert promised <= set(NAMES)


# Large models, and longer schedules of which another model's is tested: seconds each.
HEAVY = re.compile(r'(mask_rcnn|upernet)_.*_(large|base)_|mask_rcnn_restv2_small_fpn_3x')


@pytest.mark.parametrize(
    'name', [pytest.param(name, marks=pytest.mark.slow) if HEAVY.match(name) else name for name in NAMES]
)
def test_config_states_its_recipe(name):
    """Settings, number of parameters, their groups, and the channels between backbone, neck and heads."""
    cfg = read(name)
    validation.validate(cfg, ('train', 'val', 'test'))
    assert cfg.custom_imports.imports == ['mmrest']
    if not name.endswith('_shapes'):
        facts = stated(cfg)
        assert recipe(name) == facts
    model = build(cfg, 'meta')
    if name in PARAMS:
        assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(PARAMS[name], abs=0.1)
    check_param_groups(cfg, model)
    with torch.no_grad():
        channels = [out.shape[1] for out in model.backbone.eval()(torch.zeros(1, 3, 64, 64, device='meta'))]
    if cfg.default_scope == 'mmseg':
        auxiliary = cfg.model.auxiliary_head
        assert cfg.model.decode_head.in_channels == channels
        assert auxiliary.in_channels == channels[auxiliary.in_index]
    elif cfg.default_scope == 'mmdet':
        assert cfg.model.neck.in_channels == channels
    else:
        assert [cfg.model.head.in_channels] == channels


@pytest.mark.parametrize('name', [name for name in NAMES if name.endswith('_shapes')])
def test_shapes_config_has_the_drawn_classes(name):
    cfg = read(name)
    classes = CLASSES if cfg.default_scope == 'mmdet' else ('background', *CLASSES)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        assert tuple(loader.dataset.metainfo.classes) == tuple(classes)


@pytest.mark.parametrize('name', [name for name in NAMES if name.startswith('upernet')])
def test_upernet_config_tta_has_six_scales_and_flips(name):
    """Scales of the test size, each with its mirror image."""
    cfg = read(name)
    assert cfg.tta_model.type == 'SegTTAModel'
    scales, flips, *_ = cfg.tta_pipeline[-1].transforms
    assert sorted(flip.prob for flip in flips) == [0.0, 1.0]
    if not name.endswith('_shapes'):
        size = next(step for step in cfg.test_dataloader.dataset.pipeline if step['type'] == 'Resize').scale
        assert [scale.scale for scale in scales] == [
            tuple(int(side * ratio) for side in size) for ratio in (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
        ]
