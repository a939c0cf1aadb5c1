"""Writing of checkpoints to share: a state dict with its metadata."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch

from ..utils.fileio import atomic_path
from .errors import CheckpointError
from .safetensors_io import SUFFIX, write_safetensors


def save_checkpoint(checkpoint: dict[str, Any], path: str | Path) -> None:
    """Write a checkpoint atomically, in the format of the suffix.

    Args:
        checkpoint (dict): ``state_dict`` and ``meta``, which has plain values.
        path (str | Path): Local file: ``.safetensors``, or any other suffix for a file of PyTorch.

    Raises:
        CheckpointError: The file cannot be written, or the format has no place for a value. An existing file stays.
    """
    path = Path(path)
    try:
        with atomic_path(path) as partial, partial.open('wb') as file:
            if path.suffix.lower() == SUFFIX:
                write_safetensors(checkpoint, file)
            else:
                torch.save(checkpoint, file)
    except OSError as error:
        raise CheckpointError(f'{path} could not be written: {error}') from error


def check_destination(source: str, destination: Path, overwrite: bool) -> None:
    """Check that a checkpoint made of another one can be written.

    Args:
        source (str): Path or URL that is read; the file may be missing.
        destination (Path): File to write.
        overwrite (bool): An existing ``destination`` is to be replaced.

    Raises:
        CheckpointError: The destination exists, is the source, or cannot be written.
    """
    path = Path(source).expanduser()
    if destination.exists() and path.exists() and destination.samefile(path):
        raise CheckpointError(f'{destination} is the file to read itself. Give the file to write another name.')
    if destination.is_dir() or not destination.parent.is_dir():
        raise CheckpointError(
            f'{destination} cannot be written: '
            f'{"it is a folder" if destination.is_dir() else "there is no such folder"}.'
        )
    if destination.exists() and not overwrite:
        raise CheckpointError(f'{destination} exists already. Give another name, or --overwrite to replace it.')


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open('rb') as file:
        for block in iter(lambda: file.read(1 << 20), b''):
            digest.update(block)
    return digest.hexdigest()
