"""Weights that a config names by URL."""

import socket

import pytest
from mmengine.config import Config, ConfigDict

from mmrest.engine import UsageError
from mmrest.engine.validation import check_weights, weights


@pytest.fixture
def closed(monkeypatch, tmp_path):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        yield f'http://127.0.0.1:{taken.getsockname()[1]}/file.pth'


@pytest.mark.parametrize('rank', ['0', '1'])
@pytest.mark.parametrize('path', ['load_from', 'model.backbone.init_cfg', 'model.init_cfg', 'model.pretrained'])
def test_check_weights_closed_port_names_the_setting(framework_config, framework, closed, monkeypatch, rank, path):
    monkeypatch.setenv('LOCAL_RANK', rank)
    weight = dict(type='Pretrained', checkpoint=closed) if path.endswith('init_cfg') else closed
    cfg = framework_config(framework, {path: weight})
    path += '.checkpoint' if path.endswith('init_cfg') else ''
    with pytest.raises(UsageError) as error:
        check_weights(cfg)
    assert str(error.value) == (
        f'{path} is {closed}, which cannot be downloaded: Connection refused. Without network '
        'access, download it elsewhere and give the path of the file: --cfg-options '
        f'{path}=/path/to/file.pth'
    )
    if path == 'load_from':
        with pytest.raises(UsageError, match='^load_from is '):
            check_weights(cfg, train=False)
    else:
        check_weights(cfg, train=False)  # which loads none of them


def test_check_weights_resolves_mmengine_names(framework_config, closed, monkeypatch):
    monkeypatch.setattr('mmengine.runner.checkpoint.get_external_models', lambda: {'resnet50_v1c': closed})
    cfg = framework_config('mmseg')
    cfg.model.auxiliary_head.init_cfg = ConfigDict(type='Pretrained', checkpoint='open-mmlab://resnet50_v1c')
    cfg.model.decode_head.init_cfg = [ConfigDict(type='Pretrained', checkpoint='open-mmlab://resnet51')]
    with pytest.raises(UsageError) as error:
        check_weights(cfg)
    assert f'model.auxiliary_head.init_cfg.checkpoint is open-mmlab://resnet50_v1c ({closed}), ' in str(error.value)
    assert 'model.decode_head.init_cfg.0.checkpoint: open-mmlab://resnet51 is not in mmengine' in str(error.value)


def test_check_weights_ignores_other_paths(framework_config, framework, monkeypatch):
    monkeypatch.setattr(weights, 'fetch', lambda url: pytest.fail(url))
    check_weights(
        framework_config(
            framework, {'load_from': 's3://bucket/a.pth', 'model.backbone.init_cfg': dict(checkpoint='a.pth')}
        )
    )


def test_check_weights_unknown_scheme_names_its_key():
    weight = dict(type='Pretrained', checkpoint='htps://host/file.pth')
    cfg = Config(dict(model=dict(backbone=dict(type='ResT', init_cfg=weight))))
    with pytest.raises(UsageError, match=r'^model\.backbone\.init_cfg\.checkpoint: .*unknown scheme htps://'):
        check_weights(cfg)


@pytest.mark.parametrize('rank', ['0', '1'])
@pytest.mark.parametrize('path', ['load_from', 'model.backbone.init_cfg.checkpoint'])
def test_check_weights_file_of_the_hub_names_the_setting(offline_hub, monkeypatch, rank, path):
    monkeypatch.setenv('LOCAL_RANK', rank)
    cfg = Config(dict(model=dict(backbone=dict(type='ResT'))))
    cfg.merge_from_dict({path: 'hf://owner/name/a.safetensors'})
    with pytest.raises(
        UsageError, match=f'^{path} is hf://owner/name/a.safetensors, which cannot be .* HF_HUB_OFFLINE'
    ):
        check_weights(cfg)
    cfg.merge_from_dict({path: 'hf://owner/name'})
    with pytest.raises(UsageError, match=f'^{path}: hf://owner/name does not name a file'):
        check_weights(cfg)


def test_check_weights_missing_file_names_the_setting_and_what_to_do(framework_config, framework, tmp_path):
    cfg = framework_config(framework)
    (tmp_path / 'rest_small.pth').touch()
    missing, present = (dict(type='Pretrained', checkpoint=f'{tmp_path}/rest_{size}.pth') for size in ('smal', 'small'))
    cfg.model.backbone.init_cfg = ConfigDict(missing)
    cfg.model.init_cfg = [ConfigDict(present), ConfigDict(missing)]
    with pytest.raises(UsageError) as error:
        check_weights(cfg)
    first, second = sorted(str(error.value).splitlines())
    assert first == (
        f'model.backbone.init_cfg.checkpoint is {tmp_path}/rest_smal.pth, which does not exist. Did you mean '
        f'{tmp_path}/rest_small.pth? Give the path of the weights (docs/checkpoints.md says where to get them): '
        '--cfg-options model.backbone.init_cfg.checkpoint=/path/to/file.pth. Or start from random weights: '
        '--cfg-options model.backbone.init_cfg=None'
    )
    assert second.startswith('model.init_cfg.1.checkpoint is ') and second.endswith('model.init_cfg=None')
    check_weights(cfg, train=False)  # which loads none of them
