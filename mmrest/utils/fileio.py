"""Writing files so that each is there whole or not at all, whatever interrupts it."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import BinaryIO

from mmengine.fileio import LocalBackend, register_backend

# For the backend_args of mmengine's functions.
ATOMIC_BACKEND = 'mmrest.atomic'
# What exhausted disks, quotas and limits on the size of a file are reported as.
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PARTIAL = '.partial'


def partial_path(path: Path) -> Path:
    """Return the temporary name that this process writes a file under before it is whole."""
    return path.with_name(f'.{path.name}.{os.getpid()}{_PARTIAL}')


def atomic_write(path: str | Path, content: bytes) -> None:
    """Write a file under a temporary name beside it, then give it its own, in one step of the file system.

    Whoever opens ``path`` at whatever moment finds the old content or the new one.

    Args:
        path (str | Path): A local file; its folder is made if need be.
        content (bytes): What to write.

    Raises:
        OSError: It could not be written; ``filename`` is ``path``, which is as it was, and nothing else is left.
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
        if isinstance(error, OSError):  # an error of write() names no file
            raise OSError(error.errno, error.strerror or str(error), str(path)) from error
        raise
    _flush_folder(path.parent)


def _write(file: BinaryIO, content: bytes) -> None:
    file.write(content)


def _flush_folder(folder: Path) -> None:
    """Have the new name on the disk as well; some file systems refuse, and then it comes when it comes."""
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
    """Remove what writers that were killed have left in a folder.

    Args:
        folder (str | Path): With no other run writing into it.

    Returns:
        list[Path]: What was removed.
    """
    stale = sorted(Path(folder).glob(f'.*{_PARTIAL}'))
    for path in stale:
        path.unlink(missing_ok=True)
    return stale


class AtomicFileBackend(LocalBackend):
    """mmengine's local storage, writing with :func:`atomic_write`."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes to a file."""
        atomic_write(filepath, obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write text to a file."""
        atomic_write(filepath, obj.encode(encoding))


register_backend(ATOMIC_BACKEND, AtomicFileBackend, force=True)
