"""Safe loading of checkpoints, without running code from the file.

A ``.pth`` file is a pickle, which may call any function. ``torch.load(weights_only=True)`` accepts tensors and plain
containers only. This module additionally allows the few harmless types found in checkpoints of mmengine and of the
ResT authors. A ``.safetensors`` file is no pickle, and never read as one.
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

from .downloads import REMOTE, fetch_once, resolve
from .errors import CheckpointError, CheckpointNotFoundError
from .safetensors_io import SUFFIX, is_safetensors, read_safetensors
from .standins import STANDINS

# Parts of torch's messages about refused types, as opposed to corrupt files.
_REFUSALS = ('GLOBAL', 'Unsupported global', 'Unsupported class', 'Trying to')
_ZIP_MAGIC = b'PK\x03\x04'
_PICKLE_MAGIC = b'\x80'
_TORCH_SUFFIXES = ('.pth', '.pt', '.bin', '.ckpt', '.pkl', '.pickle', '.tar')
_DOWNLOAD_PREFIXES = (*REMOTE, 'modelzoo://', 'torchvision://', 'open-mmlab://', 'openmmlab://', 'mmcls://')
_STORAGE_PREFIXES = (r'(\S+\:)?s3://', r'(\S+\:)?petrel://')
_FORCE_SAFE, _FORCE_UNSAFE = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD', 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'


def load_file(path: str | Path, map_location: Any = 'cpu') -> Any:
    """Load a checkpoint file without running code from it.

    The content decides how it is read, unless the suffix says otherwise.

    Args:
        path (str | Path): Local file of PyTorch or safetensors.
        map_location: As in :func:`torch.load`.

    Returns:
        The content of the file: a state dict, or a dict that contains one. For safetensors, see
        :func:`~mmrest.checkpoints.safetensors_io.read_safetensors`.

    Raises:
        CheckpointNotFoundError: The file does not exist (also a FileNotFoundError).
        CheckpointError: The file is empty, truncated, not a checkpoint, or would run code.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise CheckpointNotFoundError(f'There is no checkpoint file {path}. Check the path.')
    with path.open('rb') as file:
        head = file.read(64)
    if not head:
        raise CheckpointError(f'{path} is empty. Download or copy it again.')
    suffix = path.suffix.lower()
    if is_safetensors(head):
        if suffix in _TORCH_SUFFIXES:
            name = path.with_suffix(SUFFIX).name
            raise CheckpointError(f'{path} is a safetensors file with the suffix of another format. Call it {name}.')
        return read_safetensors(path, map_location)
    if head.lstrip()[:1] == b'<':
        raise CheckpointError(
            f'{path} is a web page, not a checkpoint: the download needed a login or failed. '
            'Download it again with a browser.'
        )
    if head.startswith(b'version https://git-lfs'):
        raise CheckpointError(f'{path} is a git-lfs pointer, not the file itself. Fetch it with "git lfs pull".')
    if suffix == SUFFIX:
        raise CheckpointError(
            f'{path} is not a safetensors file, but one of PyTorch or another pickle. It is not read under this name.'
            if head.startswith((_ZIP_MAGIC, _PICKLE_MAGIC))
            else f'{path} is damaged, cut off or not a safetensors file. Get it again.'
        )
    if head.startswith(_ZIP_MAGIC) and not zipfile.is_zipfile(path):
        raise CheckpointError(
            f'{path} is cut off ({path.stat().st_size:,} bytes): the copy or download did not finish. Get it again.'
        )
    if tarfile.is_tarfile(path):
        # Format of PyTorch before 0.1.10; torch < 2.6 runs code from it even with weights_only=True.
        raise CheckpointError(
            f'{path} is refused: it is a tar archive, a checkpoint format that cannot be read safely. '
            'If you trust its source, load it with PyTorch and save it again.'
        )
    try:
        with _prefer_standins():
            return torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error)
        if any(word in reason for word in _REFUSALS):
            raise CheckpointError(
                f'{path} is refused: loading it would run code from the file. It asks for '
                f'{_requested_globals(path, reason)}. Nothing was run. If you trust its source, '
                'save its plain state dict there and use that file.'
            ) from error
        raise CheckpointError(f'{path} is cut off or not a PyTorch checkpoint. Get it again.') from error
    except OSError:
        raise
    except Exception as error:  # arbitrary bytes may raise anything
        raise CheckpointError(
            f'{path} is damaged or not a PyTorch checkpoint '
            f'({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ""}). '
            'Get it again.'
        ) from error


def _requested_globals(path: Path, reason: str) -> str:
    """Return the names of the types and functions that were refused, for the message."""
    finder = getattr(torch.serialization, 'get_unsafe_globals_in_checkpoint', None)  # torch >= 2.6
    if finder is not None:
        try:
            return ', '.join(sorted(finder(path)))
        except Exception:  # fall back to torch's message
            pass
    return next((line.strip() for line in reason.splitlines() if 'GLOBAL' in line or 'REDUCE' in line), 'a function')


@lru_cache(maxsize=None)
def allow_known_types() -> None:
    """Allow the types of known checkpoints in ``torch.load(weights_only=True)``.

    These are mmengine's ``HistoryBuffer`` (needed to resume a run), NumPy arrays and numbers, and
    ``argparse.Namespace``. All but the last are replaced by the restricted classes of :mod:`.standins`.
    """
    torch.serialization.add_safe_globals([argparse.Namespace, *STANDINS])


# torch's safe globals are shared by all threads.
_LOCK = threading.RLock()


@contextmanager
def _prefer_standins() -> Iterator[None]:
    """Let the stand-ins take precedence over originals of the same names allowed by other libraries.

    torch keeps the allowed types in an unordered set, and a file can misuse the originals.
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
    """Return the name by which pickles refer to an allowed object."""
    return allowed[1] if isinstance(allowed, tuple) else f'{allowed.__module__}.{allowed.__qualname__}'


def register_safe_loaders() -> None:
    """Register safe checkpoint loaders, local and remote, in mmengine.

    mmengine's own loaders run code where this is the default of ``torch.load`` (torch < 2.6), in downloads, and in
    OneDL's fork of mmengine, which retries a refused file without safety.
    """
    allow_known_types()
    # mmengine logs the names of loaders without their first ten letters, `load_from_`.
    CheckpointLoader.register_scheme(prefixes='', loader=load_from_local, force=True)
    CheckpointLoader.register_scheme(prefixes=_STORAGE_PREFIXES, loader=load_from_storage, force=True)
    CheckpointLoader.register_scheme(prefixes=_DOWNLOAD_PREFIXES, loader=load_from_download, force=True)
    pavi = _force_weights_only(mmengine_checkpoint.load_from_pavi)
    CheckpointLoader.register_scheme(prefixes='pavi://', loader=pavi, force=True)


def load_from_local(filename: str, map_location: Any = None) -> Any:
    """Load a local file for mmengine, which also calls this for unknown schemes."""
    return drop_meta_config(load_file(resolve(str(filename)), map_location))


def load_url(url: str, map_location: Any = 'cpu') -> Any:
    """Download a checkpoint, unless it is cached, and load it with :func:`load_file`.

    Args:
        url (str): URL (http, https or ``hf://``), or a model name of mmengine such as ``torchvision://resnet50``.
        map_location: As in :func:`torch.load`.

    Raises:
        CheckpointError: The file cannot be downloaded or read, or is refused.
    """
    url = resolve(url)
    if not url.startswith(REMOTE):
        return load_file(url, map_location)
    path = fetch_once(url)
    try:
        return load_file(path, map_location)
    except CheckpointError as error:
        cached = path.resolve() if path.is_symlink() else 'it'  # a link in the cache of the hub
        raise CheckpointError(f'{error} It was downloaded from {url}; delete {cached} to download it again.') from error


def read_checkpoint(name: str, map_location: Any = 'cpu') -> Any:
    """Load a checkpoint from wherever it is.

    Args:
        name (str): Path, URL (http, https, ``hf://`` or of a storage service), or a model name of mmengine.
        map_location: As in :func:`torch.load`.

    Returns:
        As :func:`load_file`.

    Raises:
        CheckpointError: The file does not exist, cannot be downloaded or read, or is refused.
    """
    source = resolve(name)
    if source.startswith(REMOTE):
        return load_url(source, map_location)
    with get_local_path(source) as path:
        return load_file(path, map_location)


def load_from_download(filename: str, map_location: Any = None) -> Any:
    """Load a URL or model name for mmengine."""
    checkpoint = drop_meta_config(load_url(filename, map_location))
    mmcls = filename.startswith('mmcls://')  # mmengine takes the backbones out of these classifiers
    return mmengine_checkpoint._process_mmcls_checkpoint(checkpoint) if mmcls else checkpoint


def load_from_storage(filename: str, map_location: Any = None, backend: str = 'petrel') -> Any:
    """Load a file from a storage service, through mmengine's client."""
    with get_local_path(filename, backend_args=dict(backend=backend)) as path:
        return drop_meta_config(load_file(path, map_location))


def _force_weights_only(loader: Callable) -> Callable:
    """Wrap a loader of mmengine so that ``torch.load`` inside is safe, even with ``weights_only=False``."""

    @wraps(loader)
    def load(*args: Any, **kwargs: Any) -> Any:
        before = {name: os.environ.pop(name, None) for name in (_FORCE_SAFE, _FORCE_UNSAFE)}
        os.environ[_FORCE_SAFE] = '1'
        try:
            return drop_meta_config(loader(*args, **kwargs))
        finally:
            del os.environ[_FORCE_SAFE]
            os.environ.update({name: value for name, value in before.items() if value is not None})

    return load


def drop_meta_config(checkpoint: Any) -> Any:
    """Remove ``meta.config`` from a checkpoint and return the checkpoint.

    mmengine executes this text as Python when it resumes, to compare a setting of its first versions.
    """
    if isinstance(checkpoint, dict) and isinstance(checkpoint.get('meta'), dict):
        checkpoint['meta'].pop('config', None)
    return checkpoint


def use_safe_loading() -> None:
    """Make every ``torch.load`` of this process and its child processes safe.

    Called by command-line programs only; importing this package calls :func:`register_safe_loaders`.
    """
    # torch.hub, for instance, calls torch.load(weights_only=False) for downloads.
    os.environ.pop(_FORCE_UNSAFE, None)
    os.environ[_FORCE_SAFE] = '1'
    register_safe_loaders()
