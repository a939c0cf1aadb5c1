"""Every config builds, says what its recipe says, takes a training step and predicts.

The recipes are those of the papers and of the authors' repositories, stated here once more, by name of config.
"""

import copy
import json
import re
from pathlib import Path

import pytest
import torch
from conftest import need_mmpretrain
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from mmrest.datasets import CLASSES
from mmrest.engine import validation
from mmrest.engine.devices import replace_amp, replace_sync_bn

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
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


def build(cfg: Config) -> nn.Module:
    """The model, as the tools build it."""
    if cfg.default_scope == 'mmpretrain':
        need_mmpretrain()
    pytest.importorskip(f'{cfg.default_scope}.utils').register_all_modules(False)
    init_default_scope(cfg.default_scope)
    replace_sync_bn(cfg)
    replace_amp(cfg)
    if cfg.get('data_preprocessor'):
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    return MODELS.build(cfg.model)


def recipe(name: str) -> dict:
    """What the config is to say."""
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


def stated(cfg: Config) -> dict:
    """What the config says, in the terms of the recipes."""
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


def batch_for(cfg: Config) -> dict:
    """Two small images with annotations, one of them without an object where that can be."""
    if cfg.default_scope == 'mmdet':
        from mmdet.testing import demo_mm_inputs

        num_classes = (cfg.model.bbox_head if 'bbox_head' in cfg.model else cfg.model.roi_head.bbox_head).num_classes
        return demo_mm_inputs(
            2,
            image_shapes=[(3, 96, 128), (3, 70, 101)],
            num_items=[2, 0],
            num_classes=num_classes,
            with_mask='roi_head' in cfg.model,
        )
    inputs = [torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8) for _ in range(2)]
    if cfg.default_scope == 'mmseg':
        from mmengine.structures import PixelData
        from mmseg.structures import SegDataSample

        samples = []
        for _ in inputs:
            labels = torch.randint(0, cfg.model.decode_head.num_classes, (1, 64, 96))
            if not cfg.model.decode_head.loss_decode.get('class_weight'):  # with which mmseg knows no label to ignore
                labels[:, :4] = 255
            samples.append(
                SegDataSample(gt_sem_seg=PixelData(data=labels), metainfo=dict(img_shape=(64, 96), ori_shape=(50, 75)))
            )
    else:
        from mmpretrain.structures import DataSample

        samples = [DataSample().set_gt_label(i) for i in range(2)]
    return dict(inputs=inputs, data_samples=samples)


def check_prediction(cfg: Config, results: list) -> None:
    assert len(results) == 2
    if cfg.default_scope == 'mmdet':
        for result, shape in zip(results, [(96, 128), (70, 101)]):
            found = result.pred_instances
            assert result.img_shape == shape and found.bboxes.shape == (len(found), 4) and found.bboxes.isfinite().all()
            if 'roi_head' in cfg.model:
                assert found.masks.shape == (len(found), *shape)
    elif cfg.default_scope == 'mmseg':
        for result in results:
            assert result.pred_sem_seg.data.shape == (1, 50, 75)  # the original size
            assert 0 <= result.pred_sem_seg.data.min() <= result.pred_sem_seg.data.max() < 150
    else:
        for result in results:
            assert result.pred_score.shape == (cfg.model.head.num_classes,) and 0.99 < result.pred_score.sum() < 1.01


def test_the_papers_parameter_counts(external):
    tables = json.loads((external / 'spec/paper_tables.json').read_text())
    for name, count in PARAMS.items():
        head, backbone, arch, rest = PATTERN.fullmatch(name).groups()
        key = 'upernet_160k_ade20k_512' if head == 'upernet' else f'{head}_{"3x" if "_3x_" in rest else "1x"}_coco'
        columns = tables[key]['columns']
        assert dict(zip(columns, tables[key][f'{backbone}_{arch}']))['params_M'] == count


def test_the_promised_configs_are_there():
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


@pytest.mark.slow  # as reading all of them is
@pytest.mark.parametrize(
    'path',
    [path for path in sorted(CONFIGS.rglob('*.py')) if '_base_' not in path.parts],
    ids=lambda path: str(path.relative_to(CONFIGS)),
)
def test_validation_finds_nothing_in_them(path, monkeypatch):
    """No errors, and no warnings either."""
    monkeypatch.setattr(validation, 'print_log', lambda text, **options: pytest.fail(text))
    validation.validate(Config.fromfile(path), ('train', 'val', 'test'))


# Large models, and longer schedules of which another model's is tested: seconds each.
HEAVY = re.compile(r'(mask_rcnn|upernet)_.*_(large|base)_|mask_rcnn_restv2_small_fpn_3x')


def smallest_of_each_kind() -> set[str]:
    """Configs with the smallest architecture of each head, backbone and norm.

    Schedules make no difference to a step, and tests/integration/test_backbones_in_detectors.py takes one with every
    style.
    """
    found = {}
    for arch in ('lite', 'tiny', 'small', 'base', 'large'):
        for name in NAMES:
            head, backbone, of_config, rest = PATTERN.fullmatch(name).groups()
            if of_config == arch:
                kind = re.sub('^(win|cwin|hwin)_', '', rest).replace('_3x_', '_1x_')
                found.setdefault((head, backbone, kind), name)
    return set(found.values())


SMALLEST = smallest_of_each_kind()


@pytest.mark.parametrize(
    'name', [pytest.param(name, marks=pytest.mark.slow) if HEAVY.match(name) else name for name in NAMES]
)
def test_recipe(name):
    """What the config says, its parameters and their groups, and the channels between backbone, neck and heads."""
    cfg = read(name)
    validation.validate(cfg, ('train', 'val', 'test'))
    assert cfg.custom_imports.imports == ['mmrest']
    if not name.endswith('_shapes'):
        facts = stated(cfg)
        assert recipe(name) == facts
    model = build(cfg)
    if name in PARAMS:
        assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(PARAMS[name], abs=0.1)
    check_param_groups(cfg, model)
    with torch.no_grad():
        channels = [out.shape[1] for out in model.backbone.eval()(torch.zeros(1, 3, 64, 64))]
    if cfg.default_scope == 'mmseg':
        auxiliary = cfg.model.auxiliary_head
        assert cfg.model.decode_head.in_channels == channels
        assert auxiliary.in_channels == channels[auxiliary.in_index]
    elif cfg.default_scope == 'mmdet':
        assert cfg.model.neck.in_channels == channels
    else:
        assert [cfg.model.head.in_channels] == channels


@pytest.mark.parametrize(
    'name', [name if name in SMALLEST else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]
)
def test_step_and_prediction(name):
    cfg = read(name)
    model = build(cfg)
    model.init_weights()
    wrapper = build_optim_wrapper(model, copy.deepcopy(cfg.optim_wrapper))
    if cfg.default_scope == 'mmseg':
        model.data_preprocessor.size = (64, 96)  # instead of padding to the crop
    data = batch_for(cfg)
    losses = model.train()(**model.data_preprocessor(copy.deepcopy(data), True), mode='loss')
    total, _ = model.parse_losses(losses)
    assert total.isfinite()
    wrapper.backward(total)
    assert not [key for key, p in model.named_parameters() if p.requires_grad and p.grad is None]
    watched = model.backbone.stage4[0].mlp.fc1.weight
    before = watched.detach().clone()
    wrapper.step()
    assert watched.isfinite().all() and not torch.equal(before, watched)
    with torch.no_grad():
        check_prediction(cfg, model.eval()(**model.data_preprocessor(data, False), mode='predict'))


@pytest.mark.parametrize('name', [name for name in NAMES if name.endswith('_shapes')])
def test_classes_of_the_drawn_shapes(name):
    cfg = read(name)
    classes = CLASSES if cfg.default_scope == 'mmdet' else ('background', *CLASSES)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        assert tuple(loader.dataset.metainfo.classes) == tuple(classes)


@pytest.mark.parametrize('name', [name for name in NAMES if name.startswith('upernet')])
def test_augmentation_when_testing(name):
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
