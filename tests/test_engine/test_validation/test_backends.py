"""Backends of visualizers: what is not installed, and what there is not."""

import importlib.util

import pytest
from mmengine.registry import VISBACKENDS
from mmengine.visualization import TensorboardVisBackend

from mmrest.engine import UsageError
from mmrest.engine.validation import validate
from mmrest.engine.validation.backends import PACKAGES

PHASES = ('train', 'val', 'test')
real_find_spec = importlib.util.find_spec


@pytest.fixture
def nothing_installed(monkeypatch):
    modules = {module for packages in PACKAGES.values() for module in packages}
    monkeypatch.setattr(
        importlib.util, 'find_spec', lambda name, *args: None if name in modules else real_find_spec(name, *args)
    )


@pytest.mark.parametrize('phases', [('train', 'val'), ('test',)])
@pytest.mark.parametrize('kind', PACKAGES)
def test_validate_backend_without_package_raises(framework_config, nothing_installed, kind, phases):
    cfg = framework_config('mmdet')
    cfg.visualizer.vis_backends = [dict(type='LocalVisBackend'), dict(type=kind)]
    with pytest.raises(
        UsageError,
        match=f'^visualizer.vis_backends has {kind}, which needs .*'
        f'pip install {" ".join(PACKAGES[kind].values())}, or remove the backend',
    ):
        validate(cfg, phases)


def test_validate_derived_backend_without_package_raises(framework_config, framework, nothing_installed):
    class OwnBackend(TensorboardVisBackend):
        pass

    VISBACKENDS.register_module(module=OwnBackend, name='OwnBackend')
    try:
        cfg = framework_config(framework)
        for backends in ([dict(type='OwnBackend')], dict(type=OwnBackend)):
            cfg.visualizer.vis_backends = backends
            with pytest.raises(UsageError, match='pip install tensorboard'):
                validate(cfg, PHASES)
    finally:
        VISBACKENDS.module_dict.pop('OwnBackend')


def test_validate_unregistered_backend_suggests_a_name(framework_config, framework):
    cfg = framework_config(framework)
    cfg.visualizer.vis_backends = [dict(type='TensorBoardVisBackend')]
    with pytest.raises(
        UsageError,
        match="^visualizer.vis_backends.0.type is 'TensorBoardVisBackend', which is not "
        'registered in vis_backends. Did you mean TensorboardVisBackend?',
    ):
        validate(cfg, PHASES)


def test_validate_installed_backend_passes(framework_config, framework):
    cfg = framework_config(framework)
    cfg.visualizer.vis_backends = [dict(type='LocalVisBackend')]
    validate(cfg, PHASES)


@pytest.mark.parametrize('backends', ["[dict(type='WandbVisBackend')]", ["dict(type='LocalVisBackend')"]])
def test_validate_backends_as_text_raise(framework_config, backends):
    """The command line turns dicts in a list into text."""
    cfg = framework_config('mmdet')
    cfg.visualizer.vis_backends = backends
    with pytest.raises(UsageError, match='vis_backends contains the string .*visualizer.vis_backends.0.type='):
        validate(cfg, PHASES)
