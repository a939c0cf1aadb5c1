"""Files of safetensors: what is written is read, by the library as well, and a damaged file is named."""

import hashlib
import io
import json
import struct
import sys
from collections import OrderedDict

import pytest
import torch
from helpers.compare import assert_equal
from torch import nn

from mmrest.checkpoints import CheckpointError, hash_tensors
from mmrest.checkpoints.safetensors_io import is_safetensors, read_safetensors, write_safetensors

safetensors = pytest.importorskip('safetensors')
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool]


def write(path, state_dict, **meta):
    with path.open('wb') as file:
        write_safetensors(dict(state_dict=state_dict, meta=meta), file)
    return path


def odd_tensors():
    """Tensors of every kind of memory: strided, transposed, shared, expanded, without elements, without axes."""
    base = torch.arange(24.0).reshape(4, 6)
    weight = nn.Parameter(torch.rand(3, 2))
    return OrderedDict(
        strided=base[:, ::2],
        transposed=base.t(),
        tied=weight,
        tied_again=weight,
        part=base[1],
        expanded=torch.ones(1).expand(5),
        channels_last=torch.rand(1, 3, 2, 2).contiguous(memory_format=torch.channels_last),
        empty=torch.empty(0, 3),
        scalar=torch.tensor(7),
        **{str(dtype): torch.tensor([0, 1, 3]).to(dtype) for dtype in DTYPES},
    )


def test_write_safetensors_tensors_are_those_that_the_library_reads(tmp_path):
    from safetensors.torch import load_file

    state_dict = odd_tensors()
    expected = {key: value.detach().clone() for key, value in state_dict.items()}
    path = write(tmp_path / 'a.safetensors', state_dict)
    assert_equal(load_file(path), expected)
    assert_equal(dict(read_safetensors(path)['state_dict']), expected)


META = dict(
    text='model = dict(\n    type="A")',
    epoch=12,
    number='12',
    word='true',
    quoted='"a"',
    empty='',
    share=0.25,
    averaged=True,
    nothing=None,
    dataset_meta=dict(classes=['a b', 'ü日'], palette=[[1, 2, 3]]),
)


def test_write_safetensors_metadata_keep_their_types(tmp_path):
    path = write(tmp_path / 'a.safetensors', dict(a=torch.ones(2)), **META)
    meta = read_safetensors(path)['meta']
    assert {key: meta[key] for key in META} == META
    with safetensors.safe_open(str(path), 'pt') as file:
        texts = file.metadata()
    assert set(texts) == {*META, 'format', 'tensors_sha256'}
    assert texts['format'] == 'pt' and texts['text'] == META['text'] and texts['epoch'] == '12'


def test_write_safetensors_equal_contents_give_equal_bytes(tmp_path):
    """The library writes metadata in random order, also within a process."""
    state_dict = odd_tensors()
    first = write(tmp_path / 'a', state_dict, **META).read_bytes()
    backwards = OrderedDict(reversed(state_dict.items()))
    for _ in range(5):
        assert write(tmp_path / 'b', backwards, **dict(reversed(META.items()))).read_bytes() == first
    size = struct.unpack('<Q', first[:8])[0]
    assert size % 8 == 0 and list(json.loads(first[8 : 8 + size])['__metadata__']) == sorted(
        [*META, 'format', 'tensors_sha256']
    )


def test_hash_tensors_is_the_documented_one():
    tensors = dict(b=torch.tensor([[1.5, -2.0]]), a=torch.tensor(3))
    content = b'["a","int64",[]]\n' + struct.pack('<q', 3) + b'["b","float32",[1,2]]\n' + struct.pack('<ff', 1.5, -2.0)
    assert hash_tensors(tensors) == hashlib.sha256(content).hexdigest()
    assert hash_tensors(dict(b=tensors['b'].t(), a=tensors['a'])) != hash_tensors(tensors)


def test_read_safetensors_versions_of_modules_are_kept(tmp_path):
    """Modules translate state dicts of their earlier versions, and take one without a version for such."""
    model = nn.Sequential(nn.BatchNorm2d(2), nn.Linear(2, 2))
    state_dict = read_safetensors(write(tmp_path / 'a', model.state_dict(), epoch=1))['state_dict']
    assert state_dict._metadata == {'0': dict(version=2)}
    del state_dict['0.num_batches_tracked']
    with pytest.raises(RuntimeError, match='Missing key.*num_batches_tracked'):  # which version 1 did not have
        model.load_state_dict(state_dict)
    del state_dict._metadata
    model.load_state_dict(state_dict)


@pytest.mark.parametrize(
    'map_location, device',
    [
        (None, 'cpu'),
        ('cpu', 'cpu'),
        ('meta', 'meta'),
        (torch.device('meta'), 'meta'),
        ({'cuda:0': 'meta'}, 'cpu'),
        ({'cpu': 'meta'}, 'meta'),
        (lambda storage, location: storage, 'cpu'),
        (lambda storage, location: None, 'cpu'),
    ],
)
def test_read_safetensors_map_location_is_that_of_torch(tmp_path, map_location, device):
    loaded = read_safetensors(write(tmp_path / 'a', dict(a=torch.ones(2))), map_location)['state_dict']
    assert loaded['a'].device.type == device


def test_read_safetensors_tensors_do_not_change_with_the_file(tmp_path):
    path = write(tmp_path / 'a', dict(a=torch.ones(1000)))
    loaded = read_safetensors(path)['state_dict']
    with path.open('r+b') as file:
        file.truncate(0)
    assert_equal(loaded['a'], torch.ones(1000))


def change_header(content: bytes, change) -> bytes:
    size = struct.unpack('<Q', content[:8])[0]
    header = json.loads(content[8 : 8 + size])
    change(header)
    text = json.dumps(header).encode()
    return struct.pack('<Q', len(text)) + text + content[8 + size :]


DAMAGES = {
    'cut in the header': lambda content: content[:40],
    'cut in the tensors': lambda content: content[:-4],
    'bytes after the end': lambda content: content + b'more',
    'a longer header': lambda content: struct.pack('<Q', len(content) * 2) + content[8:],
    'a shorter header': lambda content: struct.pack('<Q', 10) + content[8:],
    'a larger shape': lambda content: change_header(content, lambda header: header['a'].update(shape=[1 << 40])),
    'offsets beyond the end': lambda content: change_header(
        content, lambda header: header['a'].update(shape=[25], data_offsets=[0, 100])
    ),
    'an unknown type': lambda content: change_header(content, lambda header: header['a'].update(dtype='F99')),
    'metadata of another kind': lambda content: change_header(content, lambda header: header.update(__metadata__=[1])),
    'another value': lambda content: content[:-1] + b'\x00',
}


@pytest.mark.parametrize('damage', DAMAGES)
def test_read_safetensors_damaged_file_is_named(tmp_path, damage):
    path = write(tmp_path / 'a.safetensors', dict(a=torch.ones(4)))
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with pytest.raises(CheckpointError, match='a.safetensors is damaged.* Get it again'):
        read_safetensors(path)


def test_read_safetensors_foreign_file_needs_no_metadata(tmp_path):
    from safetensors.torch import save_file

    save_file(dict(a=torch.ones(2)), tmp_path / 'a.safetensors')
    loaded = read_safetensors(tmp_path / 'a.safetensors')
    assert loaded['meta'] == {} and list(loaded['state_dict']) == ['a']


@pytest.mark.parametrize(
    'value, reason',
    [
        (dict(step=1), 'holds tensors only, and odd is none'),
        (torch.eye(2).to_sparse(), 'cannot be written as safetensors'),
        (torch.ones(2, dtype=torch.complex128), 'cannot be written as safetensors'),
    ],
)
def test_write_safetensors_other_values_are_refused(value, reason):
    file = io.BytesIO()
    with pytest.raises(CheckpointError, match=f'{reason}.* Write a .pth file'):
        write_safetensors(dict(state_dict=dict(a=torch.ones(2), odd=value), meta={}), file)
    assert not file.getvalue()


def test_safetensors_not_installed_names_the_command(tmp_path, monkeypatch):
    path = write(tmp_path / 'a.safetensors', dict(a=torch.ones(2)))
    monkeypatch.setitem(sys.modules, 'safetensors', None)
    for call in (
        lambda: read_safetensors(path),
        lambda: write_safetensors(dict(state_dict={}, meta={}), io.BytesIO()),
    ):
        with pytest.raises(
            CheckpointError, match='safetensors needs the package .* pip install safetensors(, or write a .pth file)?$'
        ):
            call()


@pytest.mark.parametrize(
    'head', [b'', b'PK\x03\x04', b'\x80\x02}q\x00.', b'<!DOCTYPE html>', b'\x00' * 64, b'{"a": 1}']
)
def test_is_safetensors_other_formats_are_told_apart(head):
    assert not is_safetensors(head)
