"""Atomic writes."""

import json
import math
import os

import numpy as np
import pytest
import torch

from mmrest.utils.fileio import atomic_path, atomic_write, remove_partial_files, write_json


def test_atomic_path_file_appears_at_the_end(tmp_path):
    path = tmp_path / 'new' / 'video.mp4'
    with atomic_path(path) as partial:
        assert partial.parent == path.parent and partial.suffix == '.mp4' and not partial.exists()
        partial.write_bytes(b'content')
        assert not path.exists()
    assert path.read_bytes() == b'content' and [file.name for file in path.parent.iterdir()] == ['video.mp4']


@pytest.mark.parametrize('old', [None, b'old'])
def test_atomic_path_error_keeps_the_old_file(tmp_path, old):
    path = tmp_path / 'model.onnx'
    if old:
        path.write_bytes(old)
    with pytest.raises(KeyboardInterrupt), atomic_path(path) as partial:
        partial.write_bytes(b'half')
        raise KeyboardInterrupt
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [old] * (old is not None)


def test_atomic_path_nothing_written_raises(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / 'a.txt'):
        pass
    assert not list(tmp_path.iterdir())


def test_atomic_write_replaces_a_file(tmp_path):
    for content in (b'first', b'second'):
        atomic_write(tmp_path / 'a' / 'b.txt', content)
    assert [(file.name, file.read_bytes()) for file in (tmp_path / 'a').iterdir()] == [('b.txt', b'second')]


def test_atomic_write_error_names_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr('mmrest.utils.fileio._write', lambda *_: (_ for _ in ()).throw(OSError(28, 'full')))
    with pytest.raises(OSError) as error:
        atomic_write(tmp_path / 'a.txt', b'')
    assert (error.value.errno, error.value.filename) == (28, str(tmp_path / 'a.txt')) and not os.listdir(tmp_path)


def test_atomic_write_is_flushed_before_it_is_renamed(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, 'fsync', lambda handle: calls.append('fsync') or fsync(handle))
    monkeypatch.setattr(os, 'replace', lambda *paths: calls.append('replace') or replace(*paths))
    atomic_write(tmp_path / 'a.txt', b'content')
    assert calls == ['fsync', 'replace', 'fsync']


def test_write_json_values_become_plain(tmp_path):
    value = {1: torch.tensor([1.5, math.nan]), 'array': np.arange(2), 'tuple': (math.inf, 'text', None, True)}
    written = json.loads(write_json(tmp_path / 'a.json', value).read_text())
    assert written == {'1': [1.5, None], 'array': [0, 1], 'tuple': [None, 'text', None, True]}


@pytest.mark.parametrize('digits, expected', [(None, 1 / 3), (2, 0.33)])
def test_write_json_digits_round_floats(tmp_path, digits, expected):
    assert json.loads(write_json(tmp_path / 'a.json', [1 / 3], digits=digits).read_text()) == [expected]


def test_remove_partial_files_leaves_others(tmp_path):
    stale = ('.epoch_3.pth.123.partial', '.video.mp4.9.partial.mp4')
    for name in (*stale, 'epoch_3.pth', 'notes.partial', '.hidden'):
        (tmp_path / name).touch()
    assert [path.name for path in remove_partial_files(tmp_path)] == sorted(stale)
    assert sorted(os.listdir(tmp_path)) == ['.hidden', 'epoch_3.pth', 'notes.partial']
