"""InvalidLossHook beside the model; tests/reliability/test_invalid_loss.py has runs that it stops."""

import math
from types import SimpleNamespace

import pytest
import torch
from conftest import need_mmpretrain
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import HOOKS

import mmrest

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')


@pytest.mark.parametrize('own', [False, True])
@pytest.mark.parametrize(
    'mode, training, stops', [('loss', True, True), ('loss', False, False), ('tensor', True, False)]
)
def test_hook_checks_the_losses_the_model_sums(mode, training, stops, own, monkeypatch):
    """A method that was set on the model counts as well; the model is restored when training is over."""
    hook, model = mmrest.InvalidLossHook(), GivenLoss()
    stopped, runner = [], SimpleNamespace(model=model)
    monkeypatch.setattr(hook, '_stop', lambda runner, losses: stopped.append(losses))
    if own:
        model.parse_losses = _parse
    before = dict(vars(model))
    for _ in range(2):  # the first one is stopped before its end
        hook.before_train(runner)
    assert vars(model).get('parse_losses') is (_parse if own else None)
    model.train(training)(math.nan, mode=mode)
    model(1.0, mode=mode)
    assert [set(losses) for losses in stopped] == ([{'own'} if own else {'loss', 'loss_a'}] if stops else [])
    hook.after_train(runner)
    assert not model._forward_hooks and set(vars(model)) == set(before)
    model(math.nan, mode=mode)
    assert len(stopped) == stops


class GivenLoss(BaseModel):
    def forward(self, value, mode='tensor'):
        return dict(loss_a=torch.tensor(value))


def _parse(losses):
    return losses['loss_a'] + 1, dict(own=losses['loss_a'])


def test_configs_have_the_hook_on(repo):
    assert HOOKS.get('InvalidLossHook') is mmrest.InvalidLossHook
    for name in ('retinanet_rest_lite_fpn_shapes', 'upernet_rest_lite_shapes', 'rest_small_8xb256_in1k'):
        if name.startswith('rest'):
            need_mmpretrain()
        assert Config.fromfile(repo / f'configs/{name}.py').default_hooks.invalid_loss.type == 'InvalidLossHook', name
