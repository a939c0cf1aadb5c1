"""Conversion from file to file: what is written, and what is refused."""

import hashlib

import pytest
import torch
from helpers.compare import assert_equal
from helpers.hostile import RunsCommand
from mmengine.runner.checkpoint import CheckpointLoader
from published_files import make, save
from torch import nn

from mmrest.checkpoints import CheckpointError, load_file
from mmrest.converters.conversion import convert_file


@pytest.fixture
def source(tiny, tmp_path):
    save(make('detectron2-retinanet', 'rest', tiny), tmp_path / 'theirs.pth', 'detectron2-retinanet')
    return tmp_path / 'theirs.pth'


@pytest.mark.matrix
def test_convert_file_result_is_read_by_every_loader(source, tmp_path):
    conversion = convert_file(source, tmp_path / 'ours.pth')
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    assert conversion.sha256 == digest and digest in str(conversion)
    for loaded in (
        load_file(tmp_path / 'ours.pth'),
        torch.load(tmp_path / 'ours.pth', weights_only=True),
        CheckpointLoader.load_checkpoint(str(tmp_path / 'ours.pth'), map_location='cpu'),
    ):
        assert loaded['meta'] == dict(
            conversion.meta,
            source='theirs.pth',
            source_sha256=digest,
            layout='detectron2-retinanet',
            arch='rest_custom',
            target='retinanet',
        )
        assert loaded['meta']['settings']['embed_dims'] == [8, 16, 24, 32]
        assert_equal(dict(loaded['state_dict']), dict(conversion.state_dict))
    assert sorted(path.name for path in tmp_path.iterdir()) == ['ours.pth', 'theirs.pth']
    assert oct((tmp_path / 'ours.pth').stat().st_mode) == oct(source.stat().st_mode)


def test_convert_file_to_safetensors_has_the_same_content(source, tmp_path):
    library = pytest.importorskip('safetensors')
    conversion = convert_file(source, tmp_path / 'ours.safetensors')
    convert_file(source, tmp_path / 'again.safetensors')
    assert (tmp_path / 'ours.safetensors').read_bytes() == (tmp_path / 'again.safetensors').read_bytes()
    loaded = CheckpointLoader.load_checkpoint(str(tmp_path / 'ours.safetensors'), map_location='cpu')
    assert_equal(dict(loaded['state_dict']), dict(conversion.state_dict))
    assert {key: loaded['meta'][key] for key in conversion.meta} == conversion.meta
    with library.safe_open(tmp_path / 'ours.safetensors', 'pt') as file:
        assert file.metadata()['source_sha256'] == conversion.sha256
    convert_file(tmp_path / 'ours.safetensors', tmp_path / 'backbone.safetensors', 'backbone')
    assert 'stem.conv1.weight' in load_file(tmp_path / 'backbone.safetensors')['state_dict']


def test_convert_file_wrong_destination_is_refused(source, tmp_path):
    content = source.read_bytes()
    (tmp_path / 'link.pth').symlink_to(source)
    for name in ('theirs.pth', 'link.pth', './theirs.pth'):
        with pytest.raises(CheckpointError, match='is the file to read itself'):
            convert_file(source, f'{tmp_path}/{name}', overwrite=True)
    with pytest.raises(CheckpointError, match='no such folder'):
        convert_file(source, tmp_path / 'none' / 'ours.pth')
    with pytest.raises(CheckpointError, match='is a folder'):
        convert_file(source, tmp_path)
    (tmp_path / 'ours.pth').write_text('precious')
    with pytest.raises(CheckpointError, match='exists already.*--overwrite'):
        convert_file(source, tmp_path / 'ours.pth')
    assert (tmp_path / 'ours.pth').read_text() == 'precious' and source.read_bytes() == content
    with open(tmp_path / 'ours.pth') as reader:
        convert_file(source, tmp_path / 'ours.pth', overwrite=True)
        assert reader.read() == 'precious'  # replaced, not written over
    assert load_file(tmp_path / 'ours.pth')['meta']['target'] == 'retinanet'


def test_convert_file_failed_write_leaves_the_destination(source, tmp_path, monkeypatch):
    (tmp_path / 'ours.pth').write_text('precious')

    def fail(checkpoint, file):
        file.write(b'half')
        raise OSError('No space left on device')

    monkeypatch.setattr('mmrest.checkpoints.saving.torch.save', fail)
    with pytest.raises(CheckpointError, match='could not be written: No space left'):
        convert_file(source, tmp_path / 'ours.pth', overwrite=True)
    assert (tmp_path / 'ours.pth').read_text() == 'precious'
    assert sorted(path.name for path in tmp_path.iterdir()) == ['ours.pth', 'theirs.pth']


def break_file(kind: str, path) -> None:
    content = path.read_bytes()
    if kind == 'malicious':
        torch.save({'model': load_file(path)['model'], 'x': RunsCommand(f'touch {path.parent / "it_ran"}')}, path)
    elif kind == 'another network':
        torch.save(nn.Sequential(nn.Conv2d(3, 4, 3)).state_dict(), path)
    elif kind == 'missing':
        path.unlink()
    else:
        path.write_bytes(
            {
                'truncated': content[: len(content) // 2],
                'empty': b'',
                'no checkpoint': b'something else',
                'a web page': b'<!DOCTYPE html>log in',
            }[kind]
        )


BROKEN = {
    'truncated': 'cut off',
    'empty': 'is empty',
    'a web page': 'web page',
    'no checkpoint': 'not a PyTorch checkpoint',
    'missing': 'no checkpoint file',
    'another network': 'neither ResT nor ResTv2',
    'malicious': 'refused: loading it would run code.*system',
}


@pytest.mark.parametrize('kind', BROKEN)
@pytest.mark.parametrize('exists', [True, False])
def test_convert_file_broken_source_is_named_and_nothing_written(source, tmp_path, kind, exists):
    break_file(kind, source)
    if exists:
        (tmp_path / 'ours.pth').write_text('precious')
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(CheckpointError, match=BROKEN[kind]):
        convert_file(source, tmp_path / 'ours.pth', overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == before  # nor did anything run
    assert not exists or (tmp_path / 'ours.pth').read_text() == 'precious'
