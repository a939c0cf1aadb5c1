"""Writing of checkpoints: the suffix decides, and a failure leaves the old file."""

import hashlib
import os

import pytest
import torch
from helpers.compare import assert_equal
from torch import nn

from mmrest.checkpoints import CheckpointError, load_file, save_checkpoint
from mmrest.checkpoints.saving import hash_file

CHECKPOINT = dict(meta=dict(epoch=3, classes=['a']), state_dict=nn.Linear(2, 2).state_dict())


@pytest.mark.parametrize('suffix, start', [('.pth', b'PK'), ('.safetensors', b''), ('', b'PK')])
def test_save_checkpoint_suffix_decides_the_format(tmp_path, suffix, start):
    if suffix == '.safetensors':
        pytest.importorskip('safetensors')
    path = tmp_path / 'new' / f'file{suffix}'
    save_checkpoint(CHECKPOINT, path)
    assert path.read_bytes().startswith(start) and (path.read_bytes()[8:9] == b'{') == (not start)
    loaded = load_file(path)
    assert_equal(dict(loaded['state_dict']), dict(CHECKPOINT['state_dict']))
    assert {key: loaded['meta'][key] for key in CHECKPOINT['meta']} == CHECKPOINT['meta']
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()
    assert hash_file(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_save_checkpoint_failure_leaves_the_old_file(tmp_path, monkeypatch, suffix):
    path = tmp_path / f'file{suffix}'
    path.write_text('precious')
    if suffix == '.pth':
        monkeypatch.setattr(torch, 'save', _fail)
    else:
        pytest.importorskip('safetensors.torch')
        monkeypatch.setattr('safetensors.torch.save', _fail)
    with pytest.raises(CheckpointError, match='(could not|cannot) be written.*No space left'):
        save_checkpoint(CHECKPOINT, path)
    assert [each.name for each in tmp_path.iterdir()] == [path.name] and path.read_text() == 'precious'


def _fail(*args: object) -> None:
    raise OSError('No space left on device')
