"""Changes of a config for the machine it runs on."""

import sys

import pytest
import torch
from mmengine.config import Config

from mmrest.engine import devices, launch
from mmrest.engine.devices import replace_amp, replace_sync_bn
from mmrest.engine.hooks import keep_mmcv_in_float32

SYNC = dict(type='SyncBN', requires_grad=True)


def config(**kwargs):
    return Config(
        dict(
            model=dict(neck=dict(norm_cfg=SYNC), heads=[dict(norm_cfg=SYNC), dict(norm_cfg=dict(type='GN'))]),
            optim_wrapper=dict(
                type='AmpOptimWrapper', loss_scale='dynamic', dtype='bfloat16', optimizer=dict(type='SGD')
            ),
            **kwargs,
        )
    )


@pytest.mark.parametrize(
    'launcher, gpu, norm, wrapper',
    [
        ('none', False, 'BN', 'OptimWrapper'),
        ('pytorch', False, 'BN', 'OptimWrapper'),
        ('none', True, 'BN', 'AmpOptimWrapper'),
        ('pytorch', True, 'SyncBN', 'AmpOptimWrapper'),
    ],
)
def test_replace_sync_bn_and_amp_by_launcher_and_gpu(monkeypatch, launcher, gpu, norm, wrapper):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: gpu)
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '0')  # read by mmengine's logger
    cfg = config(launcher=launcher)
    replace_sync_bn(cfg)
    replace_amp(cfg)
    assert cfg.model.neck.norm_cfg == cfg.model.heads[0].norm_cfg == dict(type=norm, requires_grad=True)
    assert cfg.model.heads[1].norm_cfg.type == 'GN'
    assert cfg.optim_wrapper.type == wrapper
    assert ('dtype' in cfg.optim_wrapper) == ('loss_scale' in cfg.optim_wrapper) == (wrapper == 'AmpOptimWrapper')


def test_replace_config_without_model_is_unchanged():
    cfg = Config(dict(test_cfg=dict()))
    replace_sync_bn(cfg)
    replace_amp(cfg)
    assert cfg.to_dict() == dict(test_cfg=dict())


@pytest.mark.parametrize('name', ['mask_rcnn_rest_lite_fpn_shapes', 'retinanet_rest_lite_fpn_shapes'])
def test_detector_losses_under_bfloat16_need_float32_operators(name, repo, tiny, monkeypatch):
    """A focal loss that refuses bfloat16 stands for mmcv's, which mmdet takes on a GPU."""
    pytest.importorskip('mmdet.utils').register_all_modules(init_default_scope=True)
    pytest.importorskip('mmcv._ext')
    from mmdet.models.losses import FocalLoss
    from mmdet.registry import MODELS
    from mmdet.testing import demo_mm_inputs

    forward = FocalLoss.forward

    def strict(self, pred, *args, **kwargs):
        assert pred.dtype == torch.float32
        return forward(self, pred, *args, **kwargs)

    monkeypatch.setattr(FocalLoss, 'forward', strict)
    cfg = Config.fromfile(repo / f'configs/{name}.py')
    cfg.merge_from_dict({'model.backbone.arch': dict(tiny, _delete_=True)})
    cfg.model.neck.in_channels = list(tiny['embed_dims'])[-len(cfg.model.neck.in_channels) :]
    model = MODELS.build(cfg.model).train()
    data = model.data_preprocessor(
        demo_mm_inputs(2, image_shapes=[(3, 64, 64)] * 2, num_items=[2, 1], num_classes=4, with_mask=True), True
    )

    def losses():
        with torch.autocast('cpu', torch.bfloat16):
            return model.parse_losses(model(**data, mode='loss'))[0]

    import mmcv._ext

    if name.startswith('mask') and hasattr(mmcv._ext, 'PROVIDER'):
        assert losses().isfinite()  # the operators of mmrest take bfloat16
    else:
        with pytest.raises((RuntimeError, AssertionError), match='BFloat16|float32'):
            losses()
    keep_mmcv_in_float32(model)
    losses().backward()
    assert not [key for key, p in model.named_parameters() if p.requires_grad and p.grad is None]


@pytest.mark.parametrize(
    'seen, archs, error, expected',
    [
        (0, [], None, ''),
        (2, ['sm_80', 'sm_90', 'compute_90'], None, ''),
        (1, ['sm_100', 'sm_120'], None, 'has no kernels for A GPU, sm_90'),
        (0, [], RuntimeError('The NVIDIA driver is too old\nmore'), 'The NVIDIA driver is too old'),
    ],
)
def test_find_gpu_problem_unusable_gpu_restarts_on_cpu(monkeypatch, capsys, seen, archs, error, expected):
    """One sentence, and the program starts once more without it."""

    def init():
        raise error

    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    monkeypatch.setattr(devices.torch.version, 'cuda', '13.0')
    monkeypatch.setattr(devices.glob, 'glob', lambda pattern: ['/dev/nvidia0'] if seen or error else [])
    for name, value in dict(
        is_available=lambda: seen > 0,
        device_count=lambda: seen,
        get_arch_list=lambda: archs,
        get_device_capability=lambda device: (9, 0),
        get_device_name=lambda device: 'A GPU',
        init=init,
    ).items():
        monkeypatch.setattr(devices.torch.cuda, name, value)
    assert devices.find_gpu_problem().endswith(expected) and bool(devices.find_gpu_problem()) == bool(expected)
    started = []
    monkeypatch.setattr(launch.os, 'execve', lambda *args: started.append(args))
    monkeypatch.setattr(sys, 'argv', ['train.py', 'config.py'])
    monkeypatch.setattr(sys, 'orig_argv', ['python', '-X', 'dev', 'train.py', 'config.py'])
    assert launch.parse(launch.make_parser('')).config == 'config.py'
    assert len(started) == bool(expected)
    if expected:
        assert f'{expected}): running on the CPU.' in capsys.readouterr().out
        assert started[0][1] == [sys.executable, '-X', 'dev', 'train.py', 'config.py']
        assert started[0][2]['CUDA_VISIBLE_DEVICES'] == ''
        monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')  # as then, where torch sees none
        monkeypatch.setattr(devices.torch.cuda, 'is_available', lambda: False)
        assert not devices.find_gpu_problem()
