"""Reading checkpoint files without running code from them.

A ``.pth`` file is a pickle, and a pickle may call any function. ``torch.load(weights_only=True)``
refuses all but tensors and plain containers; this module adds, by name, the few harmless types that
mmengine and the ResT authors put beside them.
"""
from __future__ import annotations

import argparse
import os
import pickle
import tarfile
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from mmengine.runner.checkpoint import CheckpointLoader

from .standins import STANDINS

# How torch words its refusals, as opposed to its complaints about broken files.
_REFUSALS = ('GLOBAL', 'Unsupported global', 'Unsupported class', 'Trying to')
_ZIP_MAGIC = b'PK\x03\x04'


class CheckpointError(RuntimeError):
    """A checkpoint file cannot be read, is refused, or does not fit the model."""


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """There is no such checkpoint file."""


def load_file(path: str | Path, map_location: Any = 'cpu') -> Any:
    """Read a checkpoint file; never runs code from it.

    Args:
        path (str | Path): A local file.
        map_location: As in :func:`torch.load`.

    Returns:
        What the file holds: a state dict, or a dict with one inside.

    Raises:
        CheckpointNotFoundError: There is no such file (a FileNotFoundError, too).
        CheckpointError: It is empty, cut off, not a checkpoint, or holds something that loading
            would have to run.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise CheckpointNotFoundError(f'There is no checkpoint file {path}. Check the path.')
    with path.open('rb') as file:
        head = file.read(64)
    if not head:
        raise CheckpointError(f'{path} is empty. Download or copy it again.')
    if head.lstrip()[:1] == b'<':
        raise CheckpointError(f'{path} is a web page, not a checkpoint: the download needed a login or failed. '
                              'Download it again with a browser.')
    if head.startswith(b'version https://git-lfs'):
        raise CheckpointError(f'{path} is a git-lfs pointer, not the file itself. Fetch it with "git lfs pull".')
    if head.startswith(_ZIP_MAGIC) and not zipfile.is_zipfile(path):
        raise CheckpointError(f'{path} is cut off ({path.stat().st_size:,} bytes): the copy or download did not '
                              'finish. Get it again.')
    if tarfile.is_tarfile(path):
        # The format of PyTorch before 0.1.10; torch < 2.6 runs code from it in spite of weights_only.
        raise CheckpointError(f'{path} is refused: it is a tar archive, and reading checkpoints in that format is not '
                              'safe. Load it in a version of PyTorch that you trust with it, and save it anew.')
    allow_known_types()
    try:
        return torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error)
        if any(word in reason for word in _REFUSALS):
            raise CheckpointError(f'{path} is refused: loading it would run code from the file. It asks for '
                                  f'{_what_it_asks_for(path, reason)}. Nothing was run. If you trust its source, '
                                  'save its plain state dict there and use that file.') from error
        raise CheckpointError(f'{path} is cut off or not a PyTorch checkpoint. Get it again.') from error
    except OSError:
        raise
    except Exception as error:  # bytes that are no pickle fail in any way
        raise CheckpointError(f'{path} is damaged or not a PyTorch checkpoint '
                              f'({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ""}). '
                              'Get it again.') from error


def _what_it_asks_for(path: Path, reason: str) -> str:
    """The names that loading stumbled over, as far as they can be told."""
    finder = getattr(torch.serialization, 'get_unsafe_globals_in_checkpoint', None)  # torch >= 2.6
    if finder is not None:
        try:
            return ', '.join(sorted(finder(path)))
        except Exception:  # only a better message is at stake, and the file is known to be odd
            pass
    return next((line.strip() for line in reason.splitlines() if 'GLOBAL' in line or 'REDUCE' in line), 'a function')


@lru_cache(maxsize=None)
def allow_known_types() -> None:
    """Let ``torch.load(weights_only=True)`` accept what known checkpoints hold beside tensors.

    These are mmengine's ``HistoryBuffer`` (without it a run cannot be resumed), NumPy arrays and
    numbers, and ``argparse.Namespace``. Only the last is handed out itself: see :mod:`.standins`.
    """
    torch.serialization.add_safe_globals([argparse.Namespace, *STANDINS])


def use_safe_loading() -> None:
    """Have mmengine read every checkpoint, local or remote, without running code from it.

    For programs, not for libraries: it holds for the whole process and those that it starts.
    """
    # Wherever torch.load is called, also with weights_only=False, as torch.hub does for downloads.
    os.environ.pop('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', None)
    os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] = '1'
    allow_known_types()
    CheckpointLoader.register_scheme(prefixes='', loader=load_file, force=True)
