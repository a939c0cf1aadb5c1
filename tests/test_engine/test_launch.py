"""Set-up of the process, which programs ask for and reading a config does not do."""

import gc
import os
import sys
import weakref

import pytest
import torch
from helpers.configs import DEMO
from mmengine.runner.checkpoint import CheckpointLoader

from mmrest.engine import UsageError, launch, load_config
from mmrest.engine.launch import destroy_process_group

NEVER_RUN = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    monkeypatch.setattr(CheckpointLoader, '_schemes', dict(CheckpointLoader._schemes))
    monkeypatch.setattr(os, 'environ', dict(os.environ))
    os.environ.pop(NEVER_RUN, None)


def test_load_config_leaves_the_process_unchanged(tmp_path):
    path = tmp_path / 'config.py'
    path.write_text('model = dict(type="A")\n')
    before, loaders = dict(os.environ), dict(CheckpointLoader._schemes)
    assert load_config(str(path), {'model.type': 'B'}).model.type == 'B'
    assert os.environ == before and CheckpointLoader._schemes == loaders


def test_parse_turns_on_safe_loading(monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['train.py', 'config.py', '--local_rank', '3'])
    monkeypatch.setattr(launch, 'find_gpu_problem', lambda: '')
    os.environ.pop('LOCAL_RANK', None)
    assert launch.parse(launch.make_parser('')).config == 'config.py'
    assert os.environ['LOCAL_RANK'] == '3' and os.environ[NEVER_RUN] == '1'


@pytest.mark.parametrize(
    'tool, args',
    [
        ('get_flops', ['none.py']),
        ('check_dataset', ['none.py']),
        ('browse_dataset', ['none.py']),
        ('demo', ['none.jpg', 'none.py', 'none']),
    ],
)
def test_tool_turns_on_safe_loading(run, tool, args):
    with pytest.raises(SystemExit):
        run(tool, *args)
    assert os.environ[NEVER_RUN] == '1'


def test_load_config_slurm_without_gpus_raises(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(UsageError, match='slurm needs GPUs.*dist_train.sh'):
        load_config(DEMO, launcher='slurm')


def test_destroy_process_group_frees_the_wrapped_model(tmp_path):
    """Threads of the group would run on after Python has ended, and abort the process."""
    torch.distributed.init_process_group('gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1)
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(1, 1))
    model.cycle = [model]  # as in a runner, whose hooks and functions know it
    alive = weakref.ref(model)
    gc.disable()
    try:
        del model
        assert alive() is not None
        destroy_process_group()
    finally:
        gc.enable()
    assert alive() is None and not torch.distributed.is_initialized()
