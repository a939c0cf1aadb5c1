"""Atomic writes: a file appears complete or not at all, whatever interrupts the writer."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from mmengine.fileio import LocalBackend, register_backend

# For the backend_args of mmengine's functions.
ATOMIC_BACKEND = 'mmrest.atomic'
# Error numbers of full disks, quotas and limits on the size of a file.
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PARTIAL = '.partial'


def partial_path(path: Path, suffix: str = '') -> Path:
    """Return the temporary path of this process for a file, e.g. ``.epoch_3.pth.123.partial``."""
    return path.with_name(f'.{path.name}.{os.getpid()}{_PARTIAL}{suffix}')


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path to write to, and rename it to ``path`` when the block ends without an error.

    For libraries that write a file by its path, and for content that is written piece by piece. The temporary file
    lies in the same folder, and has the same suffix, by which libraries choose a format. Whoever opens ``path``
    finds the old content or the new one.

    Args:
        path (str | Path): Local file; its folder is made if need be.

    Yields:
        Path: Temporary file, which does not exist yet. It is removed if the block raises.

    Raises:
        OSError: The folder cannot be made, or the file cannot be renamed.
    """
    path = Path(path)
    with _replacing(path, partial_path(path, path.suffix)) as partial:
        yield partial


@contextmanager
def _replacing(path: Path, partial: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield partial
        _flush(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    try:
        _flush(path.parent)
    except OSError:  # some file systems cannot flush a folder; the new name reaches the disk later
        pass


def atomic_write(path: str | Path, content: bytes) -> None:
    """Write a file atomically, as :func:`atomic_path` does.

    Args:
        path (str | Path): Local file; its folder is made if need be.
        content (bytes): Content of the file.

    Raises:
        OSError: The file cannot be written; ``filename`` is ``path``, which is unchanged.
    """
    path = Path(path)
    try:
        # Without the suffix: what looks for checkpoints or images in the folder does not take it for one.
        with _replacing(path, partial_path(path)) as partial, partial.open('wb') as file:
            _write(file, content)
    except OSError as error:  # an error of write() names no file
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def write_json(path: str | Path, value: Any, indent: int | None = 1, digits: int | None = None) -> Path:
    """Write JSON atomically.

    Args:
        path (str | Path): Local file; its folder is made if need be.
        value: Dicts, lists, tuples, strings and numbers. Tensors and arrays become lists, keys become strings, and
            floats that are not finite become null.
        indent (int, optional): As in :func:`json.dumps`.
        digits (int, optional): Digits after the decimal point to round floats to; default: all.

    Returns:
        Path: The file.

    Raises:
        OSError: As in :func:`atomic_write`.
    """
    atomic_write(path, (json.dumps(_to_json(value, digits), indent=indent, allow_nan=False) + '\n').encode())
    return Path(path)


def read_json_lines(path: str | Path) -> list[dict[str, Any]]:
    """Read a file with a JSON object in each line, such as a log of mmengine.

    Args:
        path (str | Path): Local file.

    Returns:
        list[dict]: The objects. Other lines are left out, e.g. an incomplete last one of a run that was killed.
    """
    found = []
    for line in Path(path).read_text(encoding='utf-8', errors='replace').splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return [each for each in found if isinstance(each, dict)]


def _to_json(value: Any, digits: int | None) -> Any:
    if isinstance(value, dict):
        return {str(key): _to_json(item, digits) for key, item in value.items()}
    if hasattr(value, 'tolist'):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_to_json(item, digits) for item in value]
    if isinstance(value, float):
        value = value if digits is None else round(value, digits)
        return value if math.isfinite(value) else None
    return value


def _write(file: BinaryIO, content: bytes) -> None:
    file.write(content)


def _flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_partial_files(folder: str | Path) -> list[Path]:
    """Remove the temporary files that killed writers have left in a folder.

    Args:
        folder (str | Path): Folder that no other run writes into.

    Returns:
        list[Path]: The removed files.
    """
    stale = sorted({*Path(folder).glob(f'.*{_PARTIAL}'), *Path(folder).glob(f'.*{_PARTIAL}.*')})
    for path in stale:
        path.unlink(missing_ok=True)
    return stale


class AtomicFileBackend(LocalBackend):
    """Local storage of mmengine that writes with :func:`atomic_write`."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes to a file."""
        atomic_write(filepath, obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write text to a file."""
        atomic_write(filepath, obj.encode(encoding))


register_backend(ATOMIC_BACKEND, AtomicFileBackend, force=True)
