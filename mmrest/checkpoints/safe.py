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
import threading
import zipfile
from contextlib import contextmanager
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any, Callable, Iterator

import torch
from mmengine.fileio import get_local_path
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader

from .downloads import WEB, download_once, resolve
from .errors import CheckpointError, CheckpointNotFoundError
from .standins import STANDINS

# How torch words its refusals, as opposed to its complaints about broken files.
_REFUSALS = ('GLOBAL', 'Unsupported global', 'Unsupported class', 'Trying to')
_ZIP_MAGIC = b'PK\x03\x04'
# Prefixes of what is downloaded: URLs, and names that mmengine has URLs for.
_DOWNLOADED = (*WEB, 'modelzoo://', 'torchvision://', 'open-mmlab://', 'openmmlab://', 'mmcls://')
_STORAGE = (r'(\S+\:)?s3://', r'(\S+\:)?petrel://')
_NEVER_RUN, _MAY_RUN = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD', 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'


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
        raise CheckpointError(
            f'{path} is a web page, not a checkpoint: the download needed a login or failed. '
            'Download it again with a browser.'
        )
    if head.startswith(b'version https://git-lfs'):
        raise CheckpointError(f'{path} is a git-lfs pointer, not the file itself. Fetch it with "git lfs pull".')
    if head.startswith(_ZIP_MAGIC) and not zipfile.is_zipfile(path):
        raise CheckpointError(
            f'{path} is cut off ({path.stat().st_size:,} bytes): the copy or download did not finish. Get it again.'
        )
    if tarfile.is_tarfile(path):
        # The format of PyTorch before 0.1.10; torch < 2.6 runs code from it in spite of weights_only.
        raise CheckpointError(
            f'{path} is refused: it is a tar archive, and reading checkpoints in that format is not '
            'safe. Load it in a version of PyTorch that you trust with it, and save it anew.'
        )
    try:
        with _standins_first():
            return torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error)
        if any(word in reason for word in _REFUSALS):
            raise CheckpointError(
                f'{path} is refused: loading it would run code from the file. It asks for '
                f'{_what_it_asks_for(path, reason)}. Nothing was run. If you trust its source, '
                'save its plain state dict there and use that file.'
            ) from error
        raise CheckpointError(f'{path} is cut off or not a PyTorch checkpoint. Get it again.') from error
    except OSError:
        raise
    except Exception as error:  # bytes that are no pickle fail in any way
        raise CheckpointError(
            f'{path} is damaged or not a PyTorch checkpoint '
            f'({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ""}). '
            'Get it again.'
        ) from error


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


# torch's list of what is allowed is one for all threads.
_LOCK = threading.RLock()


@contextmanager
def _standins_first() -> Iterator[None]:
    """Have torch find the stand-ins, and not originals that another library allowed under the same names.

    torch keeps what is allowed in a set, so which of two with one name it finds is left to chance. A stand-in refuses
    what an original has built, and the originals are the ones that a file can misuse.
    """
    with _LOCK:
        allowed = torch.serialization.get_safe_globals()
        names = {_name(standin) for standin in STANDINS}
        torch.serialization.clear_safe_globals()
        others = [each for each in allowed if _name(each) not in names]
        torch.serialization.add_safe_globals([argparse.Namespace, *STANDINS, *others])
        try:
            yield
        finally:
            torch.serialization.clear_safe_globals()
            torch.serialization.add_safe_globals(allowed)


def _name(allowed: Any) -> str:
    """The name under which a pickle asks for something that torch was told to allow."""
    return allowed[1] if isinstance(allowed, tuple) else f'{allowed.__module__}.{allowed.__qualname__}'


def register_safe_loaders() -> None:
    """Have mmengine read checkpoints, local or remote, without running code from them.

    mmengine's own loaders do run code where ``torch.load`` does so by default (torch < 2.6), in downloads, and in
    OneDL's fork of mmengine, which loads a file without safety once it was refused with it.
    """
    allow_known_types()
    CheckpointLoader.register_scheme(prefixes='', loader=_load_local, force=True)
    CheckpointLoader.register_scheme(prefixes=_STORAGE, loader=_load_from_storage, force=True)
    CheckpointLoader.register_scheme(prefixes=_DOWNLOADED, loader=_load_download, force=True)
    pavi = _without_running_code(mmengine_checkpoint.load_from_pavi)
    CheckpointLoader.register_scheme(prefixes='pavi://', loader=pavi, force=True)


def _load_local(filename: str, map_location: Any = None) -> Any:
    """Load a local file for mmengine."""
    return drop_python(load_file(filename, map_location))


def load_url(url: str, map_location: Any = 'cpu') -> Any:
    """Download a checkpoint file, unless it is there from before, and read it as :func:`load_file` does.

    Args:
        url (str): http or https, or a name that mmengine has a URL for, such as ``torchvision://resnet50``.
        map_location: As in :func:`torch.load`.

    Raises:
        CheckpointError: It cannot be downloaded or read, or is refused.
    """
    url = resolve(url)
    if not url.startswith(WEB):
        return load_file(url, map_location)
    path = download_once(url)
    try:
        return load_file(path, map_location)
    except CheckpointError as error:
        raise CheckpointError(f'{error} It comes from {url}; once it is removed, it is downloaded again.') from error


def _load_download(filename: str, map_location: Any = None) -> Any:
    """Load a URL, or a name that mmengine has one for, for mmengine."""
    checkpoint = drop_python(load_url(filename, map_location))
    mmcls = filename.startswith('mmcls://')  # whose classifiers are wanted for their backbones
    return mmengine_checkpoint._process_mmcls_checkpoint(checkpoint) if mmcls else checkpoint


def _load_from_storage(filename: str, map_location: Any = None, backend: str = 'petrel') -> Any:
    """Load a file from a storage service, through mmengine's client of it."""
    with get_local_path(filename, backend_args=dict(backend=backend)) as path:
        return drop_python(load_file(path, map_location))


def _without_running_code(loader: Callable) -> Callable:
    """Wrap a loader of mmengine so that ``torch.load`` in it is safe, with ``weights_only=False`` as well."""

    @wraps(loader)
    def load(*args: Any, **kwargs: Any) -> Any:
        before = {name: os.environ.pop(name, None) for name in (_NEVER_RUN, _MAY_RUN)}
        os.environ[_NEVER_RUN] = '1'
        try:
            return drop_python(loader(*args, **kwargs))
        finally:
            del os.environ[_NEVER_RUN]
            os.environ.update({name: value for name, value in before.items() if value is not None})

    return load


def drop_python(checkpoint: Any) -> Any:
    """Drop ``meta.config``, a text that mmengine runs as Python when it resumes; returns the checkpoint.

    mmengine compares a number in it that only its first versions had.
    """
    if isinstance(checkpoint, dict) and isinstance(checkpoint.get('meta'), dict):
        checkpoint['meta'].pop('config', None)
    return checkpoint


def use_safe_loading() -> None:
    """Have everything in this process, and in those that it starts, read checkpoints without running code from them.

    For programs; importing this package does no more than :func:`register_safe_loaders`.
    """
    # Wherever torch.load is called, also with weights_only=False, as torch.hub does for downloads.
    os.environ.pop(_MAY_RUN, None)
    os.environ[_NEVER_RUN] = '1'
    register_safe_loaders()
