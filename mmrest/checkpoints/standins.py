"""Restricted replacements for types in checkpoints that are not safe to unpickle.

``torch.load(weights_only=True)`` calls only allowed functions and classes, but with arguments from the file.
``numpy.dtype`` accepts sizes that make NumPy read out of bounds, and mmengine's ``HistoryBuffer`` modifies a table
shared by all instances. The stand-ins have the names of the originals, accept the states found in real checkpoints
and refuse all others.
"""

from __future__ import annotations

import pickle
import re
from typing import Any, Callable, SupportsIndex

import numpy as np
from mmengine.logging.history_buffer import HistoryBuffer

_STATISTICS = ('min', 'max', 'current', 'mean')
# Booleans, integers, floating-point and complex numbers. No objects, strings or records.
_NUMBER = re.compile(r'[<>=|]?[biufc]\d{1,2}')


def _called(full_name: str) -> Callable:
    """Decorate a stand-in: give it the name of the original, by which pickles refer to it."""

    def rename(target: Any) -> Any:
        target.__module__, target.__name__ = full_name.rsplit('.', 1)
        target.__qualname__ = target.__name__
        return target

    return rename


def _refuse(what: str) -> None:
    raise pickle.UnpicklingError(f'Trying to rebuild {what}')


@_called('numpy.dtype')
class DType:
    """``numpy.dtype`` of a plain number."""

    def __init__(self, code: str, align: bool = False, copy: bool = True) -> None:
        if not isinstance(code, str) or not _NUMBER.fullmatch(code):
            _refuse(f'a NumPy dtype {code!r}')
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        # Version, byte order, and the defaults of the fields for records, strings and dates.
        if len(state) != 8 or state[1] not in ('<', '>', '|', '=') or tuple(state[2:]) != (None, None, None, -1, -1, 0):
            _refuse(f'a NumPy dtype with the state {state!r}')
        self.dtype = self.dtype.newbyteorder(state[1])


@_called('numpy.ndarray')
class Array(np.ndarray):
    """``numpy.ndarray`` of plain numbers; pickles as a plain array."""

    def __setstate__(self, state: tuple) -> None:
        version, shape, dtype, is_fortran, content = state
        if not isinstance(dtype, DType) or not isinstance(content, bytes):
            _refuse('a NumPy array of a type other than numbers')
        # NumPy itself checks that the shape fits the number of bytes.
        plain: Any = (version, tuple(map(int, shape)), dtype.dtype, bool(is_fortran), content)
        super().__setstate__(plain)

    def __reduce__(self) -> str | tuple[Any, ...]:
        return np.array(self, subok=False).__reduce__()

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        return self.__reduce__()


def _reconstruct(kind: type, shape: tuple, code: bytes) -> Array:
    if kind is not Array:
        _refuse(f'a NumPy array of type {kind!r}')
    return np.ndarray.__new__(Array, (0,), 'b')


def _scalar(dtype: DType, content: bytes) -> np.generic:
    if not isinstance(dtype, DType) or not isinstance(content, bytes) or len(content) != dtype.dtype.itemsize:
        _refuse('a NumPy number')
    return np.frombuffer(content, dtype.dtype)[0]


@_called('builtins.getattr')
def _statistics_method(owner: Any, name: str) -> None:
    """Replace ``getattr`` in pickled methods of HistoryBuffer; the class provides them, so nothing is returned."""
    if owner is not History or name not in _STATISTICS:
        _refuse(f'the attribute {name!r} of {owner!r}')


@_called('mmengine.logging.history_buffer.HistoryBuffer')
class History(HistoryBuffer):
    """``HistoryBuffer`` restored from its numbers only; becomes an instance of the original."""

    def __setstate__(self, state: dict) -> None:
        self.max_length = int(state['max_length'])
        self._log_history = np.array(state['_log_history'], dtype=float)
        self._count_history = np.array(state['_count_history'])
        self.__class__ = HistoryBuffer
        self._set_default_statistics()


@_called('_codecs.encode')
def _encode(text: str, encoding: str) -> bytes:
    """Decode bytes of pickle protocol 2; torch allows the original since 2.5."""
    if not isinstance(text, str) or encoding != 'latin1':
        _refuse(f'bytes in the encoding {encoding!r}')
    return text.encode(encoding)


def _under_both_names(name: str, function: Callable) -> list[Callable]:
    """Return stand-ins for the names of a function in NumPy 1 and NumPy 2."""

    def copy(full_name: str) -> Callable:
        return _called(full_name)(lambda *args: function(*args))

    return [copy(f'numpy.{core}.multiarray.{name}') for core in ('core', '_core')]


STANDINS = [
    DType,
    Array,
    History,
    _statistics_method,
    _encode,
    *_under_both_names('_reconstruct', _reconstruct),
    *_under_both_names('scalar', _scalar),
]
