"""Atomic writing of files."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import BinaryIO

from mmengine.fileio import LocalBackend, register_backend

# Name of the storage backend for the backend_args of mmengine's functions.
ATOMIC_BACKEND = 'mmrest.atomic'
# Errors of full disks, exhausted quotas and file size limits.
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PARTIAL = '.partial'


def partial_path(path: Path) -> Path:
    """Return the temporary path of a file that this process is writing."""
    return path.with_name(f'.{path.name}.{os.getpid()}{_PARTIAL}')


def atomic_write(path: str | Path, content: bytes) -> None:
    """Write a file atomically: to a temporary file in the same folder, which is then renamed.

    Readers see either the old or the new content.

    Args:
        path (str | Path): Local file; its folder is created if missing.
        content (bytes): Content of the file.

    Raises:
        OSError: The file could not be written. ``path``, the ``filename`` of the error, is not changed, and the
            temporary file is removed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_path(path)
    try:
        with partial.open('wb') as file:
            _write(file, content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError):  # errors of write() have no filename
            raise OSError(error.errno, error.strerror or str(error), str(path)) from error
        raise
    _flush_folder(path.parent)


def _write(file: BinaryIO, content: bytes) -> None:
    file.write(content)


def _flush_folder(folder: Path) -> None:
    """Flush the renaming to the disk, if the file system supports it."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)


def remove_partial_files(folder: str | Path) -> list[Path]:
    """Remove the temporary files of killed processes in a folder.

    Args:
        folder (str | Path): Folder that no other process is writing to.

    Returns:
        list[Path]: Removed files.
    """
    stale = sorted(Path(folder).glob(f'.*{_PARTIAL}'))
    for path in stale:
        path.unlink(missing_ok=True)
    return stale


class AtomicFileBackend(LocalBackend):
    """Local storage backend of mmengine that writes with :func:`atomic_write`."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes to a file."""
        atomic_write(filepath, obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write text to a file."""
        atomic_write(filepath, obj.encode(encoding))


register_backend(ATOMIC_BACKEND, AtomicFileBackend, force=True)
