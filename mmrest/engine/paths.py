"""Looking at paths that a user gave before work starts."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from .errors import UsageError


def check_checkpoint(path: str) -> None:
    """Check that a checkpoint is there; whether it can be used is for what reads it.

    Raises:
        UsageError: It is not; the message names files of almost this name.
    """
    if '://' not in path and not Path(path).expanduser().is_file():
        raise UsageError(f'There is no checkpoint {path}.{similar(Path(path))}')


def check_target(path: str | Path | None, option: str, folder: bool = True) -> None:
    """Check that something can be written to a path, before the work whose result goes there.

    Args:
        path (str | Path, optional): None is fine.
        option (str): What the user gave it as.
        folder (bool): It is a folder to be made if need be, rather than a file.

    Raises:
        UsageError: It lies under a file or in a folder that cannot be written to, or a folder is where a file goes.
    """
    if path is None or '://' in str(path):
        return
    target = Path(path).expanduser().absolute()
    if not folder:
        if target.is_dir():
            raise UsageError(f'{option} {path}: that is a folder, and a file is to be written. Give the name of one.')
        target = target.parent
    there = next(place for place in (target, *target.parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise UsageError(f'{option} {path}: {there} is no folder that can be written to. Choose another place.')


def similar(path: Path) -> str:
    """A hint at files of almost this name in the folder that was meant."""
    folder = path.parent if path.parent.is_dir() else Path('configs')
    names = [file.name for file in folder.glob(f'*{path.suffix}')] if folder.is_dir() else []
    close = [name for name in difflib.get_close_matches(path.name, names, n=3, cutoff=0.5) if name != path.name]
    if close:
        return ' Did you mean ' + ' or '.join(str(folder / name) for name in close) + '?'
    return ' Check the path.'
