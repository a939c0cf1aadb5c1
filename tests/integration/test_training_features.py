"""Training options around a backbone, in a detector, a segmentor and a classifier: each with its effect."""

import copy
import logging
from functools import lru_cache
from types import SimpleNamespace

import pytest
import torch
from conftest import REPO, TINY, need_mmpretrain
from helpers.compare import assert_equal, find_non_finite
from mmengine.config import Config
from mmengine.model import ExponentialMovingAverage
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from mmrest.engine.hooks import CompileBackboneHook, keep_mmcv_in_float32

DIMS = list(TINY['embed_dims'])
# Config, and what makes its model small.
FAMILIES = dict(
    detector=(
        'retinanet_rest_lite_fpn_shapes',
        {
            'neck.in_channels': DIMS[1:],
            'neck.out_channels': 16,
            'bbox_head.in_channels': 16,
            'bbox_head.feat_channels': 16,
            'bbox_head.stacked_convs': 1,
        },
    ),
    segmentor=(
        'upernet_rest_lite_shapes',
        {
            'backbone.type': 'ResTv2',
            'decode_head.in_channels': DIMS,
            'decode_head.channels': 16,
            'decode_head.pool_scales': (1, 2),  # others repeat values of a 2x2 map, and ReLU decides on their rounding
            'auxiliary_head.in_channels': DIMS[2],
            'auxiliary_head.channels': 16,
        },
    ),
    classifier=('ablations/rest_lite_8xb256-ablation_in1k', {'head.in_channels': DIMS[3], 'head.num_classes': 10}),
    roi_detector=(
        'mask_rcnn_rest_lite_fpn_shapes',
        {
            'neck.in_channels': DIMS,
            'neck.out_channels': 16,
            'rpn_head.in_channels': 16,
            'rpn_head.feat_channels': 16,
            'roi_head.bbox_roi_extractor.out_channels': 16,
            'roi_head.bbox_head.in_channels': 16,
            'roi_head.bbox_head.fc_out_channels': 16,
            'roi_head.mask_roi_extractor.out_channels': 16,
            'roi_head.mask_head.in_channels': 16,
            'roi_head.mask_head.conv_out_channels': 16,
            'roi_head.mask_head.num_convs': 1,
        },
    ),
)
THREE = ('detector', 'segmentor', 'classifier')


@lru_cache(maxsize=None)
def read(kind: str) -> Config:
    """The config of a family's small model."""
    name, options = FAMILIES[kind]
    cfg = Config.fromfile(REPO / f'configs/{name}.py')
    if cfg.get('data_preprocessor'):
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    cfg.merge_from_dict({f'model.{key}': value for key, value in options.items()})
    cfg.merge_from_dict({'model.backbone.arch': dict(TINY, _delete_=True), 'model.backbone.drop_path_rate': 0.0})
    return cfg


def build(kind: str, **backbone) -> nn.Module:
    """The family's model, the same every time but for the arguments of its backbone, ready to train."""
    pytest.importorskip('mmcv._ext')
    if kind == 'classifier':
        need_mmpretrain()
    cfg = read(kind)
    pytest.importorskip(f'{cfg.default_scope}.utils').register_all_modules(False)
    init_default_scope(cfg.default_scope)
    config = copy.deepcopy(cfg.model)
    config.backbone.update(backbone)
    torch.manual_seed(0)
    return MODELS.build(config).train()


def batch(kind: str, model: nn.Module) -> dict:
    """Two images with annotations, as the model takes them."""
    torch.manual_seed(0)
    if kind in ('detector', 'roi_detector'):
        from mmdet.testing import demo_mm_inputs

        data = demo_mm_inputs(2, image_shapes=[(3, 64, 64)] * 2, num_items=[2, 1], num_classes=4, with_mask=True)
        return model.data_preprocessor(data, True)
    inputs = [torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8) for _ in range(2)]
    if kind == 'segmentor':
        from mmengine.structures import PixelData
        from mmseg.structures import SegDataSample

        model.data_preprocessor.size = (64, 64)
        samples = [
            SegDataSample(
                gt_sem_seg=PixelData(data=torch.randint(0, 5, (1, 64, 64))),
                metainfo=dict(img_shape=(64, 64), ori_shape=(64, 64)),
            )
            for _ in inputs
        ]
    else:
        from mmpretrain.structures import DataSample

        samples = [DataSample().set_gt_label(i) for i in range(2)]
    return model.data_preprocessor(dict(inputs=inputs, data_samples=samples), True)


def step(model: nn.Module, data: dict, dtype: torch.dtype | None = None) -> tuple[torch.Tensor, dict]:
    """The loss, and the gradient of every parameter that has one."""
    torch.manual_seed(0)
    model.zero_grad()
    with torch.autocast('cpu', dtype or torch.bfloat16, enabled=dtype is not None):
        loss, _ = model.parse_losses(model(**copy.deepcopy(data), mode='loss'))
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def trainable(model: nn.Module) -> set[str]:
    return {name for name, param in model.named_parameters() if param.requires_grad}


@pytest.fixture(scope='module')
def plain():
    """A function that returns loss and gradients of the family's model with nothing switched on."""
    known = {}

    def run(kind):
        if kind not in known:
            model = build(kind)
            known[kind] = step(model, batch(kind, model))
        return known[kind]

    return run


def check_same(found: tuple, expected: tuple, rtol: float = 1e-3) -> None:
    torch.testing.assert_close(found[0], expected[0], rtol=1e-5, atol=1e-6)
    assert found[1].keys() == expected[1].keys()
    for name, grad in expected[1].items():
        tolerance = max(1e-4 * grad.abs().max().item(), 1e-5)
        torch.testing.assert_close(found[1][name], grad, rtol=rtol, atol=tolerance, msg=lambda m, name=name: name + m)


@pytest.mark.parametrize('kind', THREE)
def test_step_plain_gives_every_parameter_a_finite_gradient(plain, kind):
    loss, grads = plain(kind)
    assert loss.isfinite() and find_non_finite(grads) == []
    assert grads.keys() == trainable(build(kind))


@pytest.mark.parametrize('kind', THREE)
def test_step_with_layer_decay_scales_updates_by_stage(kind):
    model = build(kind)
    wrapper = build_optim_wrapper(
        model,
        dict(
            type='OptimWrapper',
            optimizer=dict(type='SGD', lr=1e-3),
            constructor='LayerDecayOptimWrapperConstructor',
            paramwise_cfg=dict(layer_decay_rate=0.5),
        ),
    )
    before = {name: param.detach().clone() for name, param in model.named_parameters()}
    _, grads = step(model, batch(kind, model))
    wrapper.step()
    for name, param in model.named_parameters():
        part = name.split('.')
        stage = 0 if part[1] == 'stem' else int(part[1][-1]) if part[0] == 'backbone' else 5
        torch.testing.assert_close(before[name] - param, 1e-3 * 0.5 ** (5 - stage) * grads[name], rtol=1e-2, atol=1e-6)


@pytest.mark.parametrize('kind', THREE)
def test_step_with_frozen_stages_changes_only_the_others(plain, kind):
    model = build(kind, frozen_stages=2)
    before = copy.deepcopy(model.state_dict())
    wrapper = build_optim_wrapper(model, dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1)))
    loss, grads = step(model, batch(kind, model))
    wrapper.step()
    assert grads.keys() == trainable(model) < plain(kind)[1].keys()
    frozen = (
        'backbone.stem.',
        'backbone.stage1.',
        'backbone.stage2.',
        'backbone.patch_2.',
        'backbone.patch_embed_2.',
        'backbone.norm1.',
        'backbone.norm2.',
    )
    for name, value in model.state_dict().items():
        if name.startswith(frozen):  # BatchNorm's statistics among them
            assert_equal(value, before[name], msg=name)
    moving = [name for name, grad in grads.items() if grad.abs().max() > 1e-4]
    assert [name for name in moving if torch.equal(model.get_parameter(name), before[name])] == []


def bytes_kept(model: nn.Module, data: dict) -> int:
    """Count the bytes of tensors that the forward pass keeps for the backward pass."""
    kept = {}

    def pack(x):
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        model(**copy.deepcopy(data), mode='loss')
    return sum(kept.values())


@pytest.mark.parametrize('kind', THREE)
def test_step_with_checkpointing_is_equal_and_keeps_fewer_bytes(plain, kind):
    model, other = build(kind, with_cp=True), build(kind)
    data = batch(kind, model)
    check_same(step(model, data), plain(kind))
    batch(kind, other)
    assert bytes_kept(model, data) < bytes_kept(other, data)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize('kind', FAMILIES)
def test_step_under_autocast_is_finite_and_close_to_float32(plain, kind, dtype):
    model = build(kind)
    keep_mmcv_in_float32(model)  # NMS on a CPU has no kernel for float16 either
    seen = set()
    model.backbone.stage3[0].mlp.fc2.register_forward_hook(lambda module, args, out: seen.add(out.dtype))
    maps = []
    model.backbone.register_forward_hook(lambda module, args, outs: maps.extend(outs))
    loss, grads = step(model, batch(kind, model), dtype)
    assert seen == {dtype}
    assert find_non_finite(maps) == []
    assert loss.isfinite() and find_non_finite(grads) == []
    assert grads.keys() == trainable(model)
    assert loss == pytest.approx(plain(kind)[0].item(), rel=0.05)


@pytest.mark.parametrize('kind', THREE)
def test_step_in_channels_last_is_equal(plain, kind):
    model = build(kind).to(memory_format=torch.channels_last)
    assert model.backbone.stem.state_dict()  # the convolutions of its stem are what changes
    assert [name for name, p in model.backbone.stem.named_parameters() if not p.is_contiguous()]
    data = batch(kind, model)
    data['inputs'] = data['inputs'].contiguous(memory_format=torch.channels_last)
    check_same(step(model, data), plain(kind))


@pytest.mark.parametrize('kind', THREE)
def test_ema_after_a_step_averages_parameters_and_statistics(kind):
    """The average is the one that EMAHook keeps."""
    model = build(kind)
    data = batch(kind, model)
    average = ExponentialMovingAverage(model, momentum=0.25, update_buffers=True)
    average.update_parameters(model)  # the first time it copies
    start = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    step(model, data)
    optimizer.step()
    average.update_parameters(model)
    assert average.module.state_dict().keys() == model.state_dict().keys()
    moved = set()
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(average.module.state_dict()[name], 0.75 * start[name] + 0.25 * value)
            moved |= {name} if not torch.equal(value, start[name]) else set()
    assert [name for name in moved if 'running_mean' in name] and [name for name in moved if 'stage3' in name]
    with torch.no_grad():
        outs, others = average.module.backbone(data['inputs']), model.backbone(data['inputs'])
    assert find_non_finite(outs) == []
    assert [i for i, (out, other) in enumerate(zip(outs, others)) if torch.equal(out, other)] == []


def check_compiled(kind: str, backend: str, expected: tuple, rtol: float = 1e-3) -> None:
    """The model computes the same when CompileBackboneHook has been at it; test_hooks/test_compile.py has more."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    model = build(kind)
    names = list(model.state_dict())
    CompileBackboneHook(backend=backend).before_train(SimpleNamespace(model=model, logger=logging.getLogger()))
    check_same(step(model, batch(kind, model)), expected, rtol)
    assert torch._dynamo.utils.counters['stats']['unique_graphs'] > 0
    assert list(model.state_dict()) == names


@pytest.mark.parametrize('kind', THREE)
def test_step_with_compiled_backbone_eager_is_equal(plain, kind):
    check_compiled(kind, 'eager', plain(kind))


@pytest.mark.slow
@pytest.mark.parametrize('kind, backend', [('detector', 'inductor'), ('segmentor', 'aot_eager')])
def test_step_with_compiled_backbone_lowered_is_equal(plain, kind, backend):
    check_compiled(kind, backend, plain(kind), rtol=1e-2)
