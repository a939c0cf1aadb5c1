"""Stand-ins for known types of pickles: they accept what training saves and nothing else."""

import argparse
import pickle

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from mmrest.checkpoints import CheckpointError, load_file, standins


class Calls:
    """Pickles as a call of a function, with a state for its result."""

    def __init__(self, function, *args, state=None):
        self.reduced = (function, args, state) if state is not None else (function, args)

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize(
    'owner, name',
    [(HistoryBuffer, '__init__'), (HistoryBuffer, 'register_statistics'), (argparse.Namespace, '__class__')],
)
def test_getattr_other_than_statistics_is_refused(tmp_path, owner, name):
    torch.save({'x': Calls(getattr, owner, name)}, tmp_path / 'evil.pth')
    with pytest.raises(CheckpointError, match='refused'):
        load_file(tmp_path / 'evil.pth')
    torch.save({'x': Calls(getattr, HistoryBuffer, 'mean')}, tmp_path / 'good.pth')
    assert load_file(tmp_path / 'good.pth')['x'] is None


DTYPES = [
    Calls(np.dtype, 'O', False, True),
    Calls(np.dtype, 'S8', False, True, state=(3, '|', None, None, None, -5, 1, 0)),
    Calls(np.dtype, 'f8', False, True, state=(3, '<', (np.dtype('i1'), (1000,)), None, None, 8, 1, 0)),
    Calls(np.dtype, 'f8', False, True, state=(3, '<', None, None, None, 1 << 20, -1, 0)),
    Calls(np.dtype, 'V8', False, True),
]


@pytest.mark.parametrize('dtype', DTYPES, ids=range(len(DTYPES)))
def test_dtype_that_would_misread_memory_is_refused(tmp_path, dtype):
    scalar = np.float64(0).__reduce__()[0]
    torch.save({'x': Calls(scalar, dtype, b'12345678')}, tmp_path / 'evil.pth')
    with pytest.raises(CheckpointError):
        load_file(tmp_path / 'evil.pth')


@pytest.mark.parametrize('content', [b'1234567', b'', b'123456789'])
def test_scalar_of_the_wrong_size_is_refused(tmp_path, content):
    torch.save({'x': Calls(np.float64(0).__reduce__()[0], np.dtype('f8'), content)}, tmp_path / 'evil.pth')
    with pytest.raises(CheckpointError):
        load_file(tmp_path / 'evil.pth')


def test_history_with_own_statistics_leaves_others_alone(tmp_path):
    buffer = HistoryBuffer([1.0, 5.0], [1, 1])
    state = dict(buffer.__getstate__(), statistics_methods={'mean': 3})
    torch.save({'x': Calls(HistoryBuffer.__new__, HistoryBuffer, state=state)}, tmp_path / 'odd.pth')
    try:
        load_file(tmp_path / 'odd.pth')
    except CheckpointError:
        pass
    assert HistoryBuffer([2.0], [1]).statistics('mean') == 2


def test_encode_latin1_gives_bytes_and_others_are_refused():
    """torch 2.4 has no place of its own for them, and numbers of NumPy hold them."""
    encode = {f'{each.__module__}.{each.__qualname__}': each for each in standins.STANDINS}['_codecs.encode']
    assert encode('\x00\xff', 'latin1') == b'\x00\xff'
    for text, encoding in ((b'a', 'latin1'), ('a', 'utf8'), ('a', 'rot13')):
        with pytest.raises(pickle.UnpicklingError, match='bytes in the encoding'):
            encode(text, encoding)
