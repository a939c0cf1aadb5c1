"""The tool that converts checkpoints."""

import os
import sys

import pytest
import torch
from conftest import run_process
from published_files import make, save

from mmrest.checkpoints import load_file


class Runs:
    """A pickle of this calls ``os.system``."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.fixture
def source(tiny, tmp_path):
    save(make('detectron2-retinanet', 'rest', tiny), tmp_path / 'theirs.pth', 'detectron2-retinanet')
    return tmp_path / 'theirs.pth'


def test_convert_checkpoint_writes_or_ends_in_one_message(repo, source, tmp_path):
    tool = [sys.executable, repo / 'tools' / 'convert_checkpoint.py']
    out = run_process([*tool, 'theirs.pth', 'ours.pth'], tmp_path)
    assert 'theirs.pth is a RetinaNet of detectron2 with rest_custom' in out and out.endswith('written to ours.pth\n')
    assert load_file(tmp_path / 'ours.pth')['meta']['target'] == 'retinanet'
    content = (tmp_path / 'ours.pth').read_bytes()
    out = run_process([*tool, 'theirs.pth', 'ours.pth', '--to', 'upernet', '--overwrite'], tmp_path, status=2)
    assert out.startswith('error: theirs.pth is a RetinaNet') and 'Traceback' not in out
    torch.save({'model': load_file(source)['model'], 'x': Runs(f'touch {tmp_path}/it_ran')}, source)
    out = run_process([*tool, 'theirs.pth', 'ours.pth', '--overwrite'], tmp_path, status=2)
    assert out.startswith('error: theirs.pth is refused') and 'Traceback' not in out
    assert (tmp_path / 'ours.pth').read_bytes() == content
    assert sorted(path.name for path in tmp_path.iterdir()) == ['ours.pth', 'theirs.pth']
