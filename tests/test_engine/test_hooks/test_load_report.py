"""LoadReportHook between reading a checkpoint and filling the model."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mmrest.checkpoints import CheckpointError
from mmrest.engine.hooks import LoadReportHook


def runner_of(model):
    return SimpleNamespace(model=model, _load_from='some.pth')


def test_load_report_hook_unwraps_the_state_dict():
    model = nn.Linear(2, 2)
    checkpoint = dict(model=model.state_dict())
    LoadReportHook().after_load_checkpoint(runner_of(model), checkpoint)
    assert checkpoint['state_dict'].keys() == model.state_dict().keys()


def test_load_report_hook_other_model_raises():
    with pytest.raises(CheckpointError, match='some.pth does not fit|checkpoint does not fit'):
        LoadReportHook().after_load_checkpoint(runner_of(nn.Linear(2, 2)), dict(state_dict=dict(other=torch.ones(3))))


def test_load_report_hook_testing_needs_every_head():
    model = nn.ModuleDict(dict(backbone=nn.Linear(9, 9), head=nn.Linear(2, 2)))
    state = {key: value for key, value in model.state_dict().items() if key.startswith('backbone')}
    LoadReportHook().after_load_checkpoint(runner_of(model), dict(state_dict=dict(state)))
    with pytest.raises(CheckpointError, match='has nothing for head'):
        LoadReportHook(testing=True).after_load_checkpoint(runner_of(model), dict(state_dict=dict(state)))
