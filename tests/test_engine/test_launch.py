"""Set-up of the process, which programs ask for and reading a config does not do."""

import os
import sys

import pytest
from mmengine.runner.checkpoint import CheckpointLoader

from mmrest.engine import launch, load_config

NEVER_RUN = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    monkeypatch.setattr(CheckpointLoader, '_schemes', dict(CheckpointLoader._schemes))
    monkeypatch.setattr(os, 'environ', dict(os.environ))
    os.environ.pop(NEVER_RUN, None)


def test_reading_a_config_changes_nothing_in_the_process(tmp_path):
    path = tmp_path / 'config.py'
    path.write_text('model = dict(type="A")\n')
    before, loaders = dict(os.environ), dict(CheckpointLoader._schemes)
    assert load_config(str(path), {'model.type': 'B'}).model.type == 'B'
    assert os.environ == before and CheckpointLoader._schemes == loaders


def test_programs_load_safely(monkeypatch):
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
def test_tools_load_safely(run, tool, args):
    with pytest.raises(SystemExit):
        run(tool, *args)
    assert os.environ[NEVER_RUN] == '1'
