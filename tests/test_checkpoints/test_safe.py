"""Files of every kind: the good are read, the broken are named, and none is run."""

import argparse
import pickle
import tarfile
from collections import OrderedDict
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pytest
import torch
from helpers.compare import assert_equal
from helpers.hostile import RunsCommand
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader

from mmrest.checkpoints import CheckpointError, load_file, safe, save_checkpoint


def test_load_file_known_types_are_read(tmp_path):
    buffer = HistoryBuffer([1.0, 2.5], [1, 1])
    torch.save(
        {
            'model': OrderedDict(a=torch.arange(3)),
            'args': argparse.Namespace(lr=0.1, names=['x']),
            'loss': buffer,
            'best': np.float64(0.5),
            'count': np.int64(3),
            'ids': np.arange(4),
            'half': np.float32(0.25),
            'flag': np.bool_(True),
        },
        tmp_path / 'file.pth',
    )
    loaded = load_file(tmp_path / 'file.pth')
    assert_equal(loaded['model']['a'], torch.arange(3))
    assert loaded['args'] == argparse.Namespace(lr=0.1, names=['x'])
    assert loaded['loss'].mean() == 1.75 and loaded['loss'].statistics('max') == 2.5
    assert (loaded['best'], loaded['count'], loaded['half'], loaded['flag']) == (0.5, 3, 0.25, True)
    assert loaded['ids'].tolist() == [0, 1, 2, 3]


def test_load_file_legacy_format_is_read(tmp_path):
    torch.save({'a': torch.ones(2)}, tmp_path / 'old.pth', _use_new_zipfile_serialization=False)
    assert_equal(load_file(tmp_path / 'old.pth')['a'], torch.ones(2))


@pytest.mark.parametrize('new_format', [True, False])
def test_load_file_hostile_checkpoint_is_refused(tmp_path, new_format):
    witness = tmp_path / 'it_ran'
    torch.save(
        {'model': {'a': torch.ones(2)}, 'x': RunsCommand(f'touch {witness}')},
        tmp_path / 'evil.pth',
        _use_new_zipfile_serialization=new_format,
    )
    with pytest.raises(CheckpointError, match='refused.*would run code.*system'):
        load_file(tmp_path / 'evil.pth')
    assert not witness.exists()


def test_load_file_hostile_plain_pickle_is_refused(tmp_path):
    witness = tmp_path / 'it_ran'
    (tmp_path / 'evil.pth').write_bytes(pickle.dumps(RunsCommand(f'touch {witness}'), protocol=2))
    with pytest.raises(CheckpointError):
        load_file(tmp_path / 'evil.pth')
    assert not witness.exists()


def test_load_file_result_can_be_saved_again(tmp_path):
    torch.save({'h': HistoryBuffer([1.0], [1]), 'a': np.arange(6.0).reshape(2, 3)}, tmp_path / 'a.pth')
    torch.save(load_file(tmp_path / 'a.pth'), tmp_path / 'b.pth')
    loaded = load_file(tmp_path / 'b.pth')
    assert type(loaded['h']) is HistoryBuffer and loaded['h'].current() == 1
    np.testing.assert_array_equal(loaded['a'], np.arange(6.0).reshape(2, 3))


@pytest.mark.parametrize(
    'content, message',
    [
        (b'', 'empty'),
        (b'<!DOCTYPE html><html>log in</html>', 'web page'),
        (b'\n <html>', 'web page'),
        (b'version https://git-lfs.github.com/spec/v1\noid', 'git-lfs pointer'),
        (b'not a checkpoint at all', 'not a PyTorch checkpoint'),
        (b'something else', 'not a PyTorch checkpoint'),
        (b'\x00' * 100, 'not a PyTorch checkpoint'),
    ],
)
def test_load_file_other_content_is_named(tmp_path, content, message):
    path = tmp_path / 'file.pth'
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as error:
        load_file(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize('new_format, message', [(True, 'cut off'), (False, 'damaged or not|cut off')])
@pytest.mark.parametrize('part', [0.3, 0.98])
def test_load_file_truncated_is_named(tmp_path, new_format, message, part):
    path = tmp_path / 'file.pth'
    torch.save({'a': torch.rand(1000)}, path, _use_new_zipfile_serialization=new_format)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(CheckpointError, match=message):
        load_file(path)


def test_load_file_missing_raises_file_not_found(tmp_path):
    with pytest.raises(FileNotFoundError, match='no checkpoint file'):
        load_file(tmp_path / 'none.pth')


def test_load_file_tar_archive_is_refused(tmp_path):
    (tmp_path / 'data').write_text('x')
    with tarfile.open(tmp_path / 'old.pth', 'w') as archive:
        archive.add(tmp_path / 'data', 'data')
    with pytest.raises(CheckpointError, match='tar archive'):
        load_file(tmp_path / 'old.pth')


@pytest.mark.parametrize('name', ['file.safetensors', 'FILE.SAFETENSORS', 'file', 'blob.1a2b'])
@pytest.mark.parametrize('length', [0, 0x3C20 - 300])
def test_load_file_safetensors_is_read_without_pickle(tmp_path, monkeypatch, name, length):
    """Also if its first bytes, the length of the header, are those of a web page: a blank and '<'."""
    pytest.importorskip('safetensors')
    path, written = tmp_path / name, tmp_path / 'a.safetensors'
    save_checkpoint(dict(meta=dict(a=''), state_dict=dict(a=torch.ones(2))), written)
    if length:
        rest = 0x3C20 - int.from_bytes(written.read_bytes()[:8], 'little')
        save_checkpoint(dict(meta=dict(a='x' * rest), state_dict=dict(a=torch.ones(2))), written)
        assert written.read_bytes()[:2] == b' <'
    written.rename(path)
    for module in (pickle, torch):
        monkeypatch.setattr(module, 'load', lambda *args, **kwargs: pytest.fail('a pickle is read'))
    assert_equal(load_file(path)['state_dict']['a'], torch.ones(2))
    assert_equal(CheckpointLoader.load_checkpoint(str(path), 'cpu')['state_dict']['a'], torch.ones(2))


@pytest.mark.parametrize('new_format', [True, False])
def test_load_file_pickle_called_safetensors_is_not_read(tmp_path, new_format):
    witness, path = tmp_path / 'it_ran', tmp_path / 'evil.safetensors'
    for content in ({'a': torch.ones(2)}, {'x': RunsCommand(f'touch {witness}')}):
        torch.save(content, path, _use_new_zipfile_serialization=new_format)
        with pytest.raises(CheckpointError, match='evil.safetensors is not a safetensors file, but one of PyTorch'):
            load_file(path)
    assert not witness.exists()


@pytest.mark.parametrize('name', ['file.pth', 'file.PT', 'pytorch_model.bin'])
def test_load_file_safetensors_called_otherwise_is_not_read(tmp_path, name):
    pytest.importorskip('safetensors')
    save_checkpoint(dict(meta={}, state_dict=dict(a=torch.ones(2))), tmp_path / 'a.safetensors')
    (tmp_path / 'a.safetensors').rename(tmp_path / name)
    with pytest.raises(CheckpointError, match=f'{name} is a safetensors file with .* Call it .*.safetensors'):
        load_file(tmp_path / name)


@pytest.mark.parametrize(
    'content, message',
    [
        (b'', 'is empty'),
        (b'\x10\x00', 'damaged, cut off or not a safetensors file'),
        (b'not a checkpoint at all', 'damaged, cut off or not a safetensors file'),
        (b'<html>', 'web page'),
        (b'version https://git-lfs.github.com/spec/v1\noid', 'git-lfs pointer'),
    ],
)
def test_load_file_other_content_called_safetensors_is_named(tmp_path, content, message):
    (tmp_path / 'file.safetensors').write_bytes(content)
    with pytest.raises(CheckpointError, match=f'file.safetensors .*{message}'):
        load_file(tmp_path / 'file.safetensors')


@pytest.fixture
def safe_mmengine(monkeypatch):
    """mmengine told to read safely, until the end of the test."""
    monkeypatch.setattr(CheckpointLoader, '_schemes', dict(CheckpointLoader._schemes))
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '0')
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    safe.use_safe_loading()


@pytest.mark.parametrize(
    'path, name',
    [('a.pth', 'local'), ('https://a/b.pth', 'download'), ('s3://a/b.pth', 'storage'), ('pavi://a', 'pavi')],
)
def test_registered_loader_is_called_by_its_source_in_the_log(safe_mmengine, path, name):
    assert CheckpointLoader._get_checkpoint_loader(path).__name__[10:] == name  # as mmengine takes it


def test_use_safe_loading_local_file_is_read_safely(tmp_path, safe_mmengine):
    (tmp_path / 'page.pth').write_bytes(b'<html>')
    with pytest.raises(CheckpointError, match='web page'):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'page.pth'), map_location='cpu')


def test_use_safe_loading_download_is_read_safely(tmp_path, safe_mmengine, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    witness = tmp_path / 'it_ran'
    torch.save({'a': torch.ones(2)}, tmp_path / 'good.pth')
    torch.save({'a': torch.ones(2), 'x': RunsCommand(f'touch {witness}')}, tmp_path / 'evil.pth')
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f'http://127.0.0.1:{server.server_port}'
        assert_equal(CheckpointLoader.load_checkpoint(f'{url}/good.pth')['a'], torch.ones(2))
        with pytest.raises(CheckpointError, match='would run code'):
            CheckpointLoader.load_checkpoint(f'{url}/evil.pth')
        server.shutdown()
    assert not witness.exists()
