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


@pytest.mark.parametrize(
    'testing, trained, warning',
    [
        (True, ['a', 'b'], ''),
        (True, ('b', 'a'), "some.pth was trained on other classes than those of the test_dataloader: number 0 is 'b'"),
        (True, ['a'], 'some.pth was trained on other classes than those of the test_dataloader: 1 instead of 2'),
        (True, None, ''),
        (False, ['c'], ''),
    ],
)
def test_load_report_hook_other_classes_are_a_warning(testing, trained, warning):
    said, model = [], nn.Linear(2, 2)
    runner = runner_of(model)
    runner.test_dataloader = SimpleNamespace(dataset=SimpleNamespace(metainfo=dict(classes=('a', 'b'))))
    runner.logger = SimpleNamespace(warning=said.append)
    meta = dict(dataset_meta=dict(classes=trained)) if trained else {}
    LoadReportHook(testing).after_load_checkpoint(runner, dict(state_dict=model.state_dict(), meta=meta))
    assert len(said) == bool(warning) and ''.join(said).startswith(warning)
