"""Checks of input and output paths given by the user."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path

from ..checkpoints import resolve
from .errors import UsageError


def check_checkpoint(path: str) -> None:
    """Check that a checkpoint file exists, or that the scheme of its URL is known. The file is not opened.

    Raises:
        UsageError: There is no such file; the message suggests similar names.
        CheckpointError: The scheme or the model name is unknown.
    """
    if '://' in path:
        resolve(path)
    elif not Path(path).expanduser().is_file():
        raise UsageError(f'There is no checkpoint {path}.{similar(Path(path))}')


def check_target(path: str | Path | None, option: str, folder: bool = True) -> None:
    """Check that an output path is writable, before the work starts.

    Args:
        path (str | Path, optional): Output path; None passes.
        option (str): Name of the command-line option, for the message.
        folder (bool): The output is a folder, created if missing. False: a file.

    Raises:
        UsageError: The path is not writable, or a folder is given for a file.
    """
    if path is None or '://' in str(path):
        return
    target = Path(path).expanduser().absolute()
    if not folder:
        if target.is_dir():
            raise UsageError(f'{option} {path} is a folder, but a file name is expected.')
        target = target.parent
    existing = next(folder for folder in (target, *target.parents) if folder.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise UsageError(f'{option} {path}: {existing} is not a writable folder. Choose another path.')


def similar(path: Path) -> str:
    """Return a sentence that suggests files with similar names in the folder of a path."""
    folder = path.parent if path.parent.is_dir() else Path('configs')
    files = [file for file in folder.glob(f'*{path.suffix}') if file.name != path.name] if folder.is_dir() else []
    # Compared without the suffix, which makes any two short names similar.
    names = {file.stem: file for file in files}
    close = difflib.get_close_matches(path.stem, names, n=3, cutoff=0.6)
    numbered = [name for name in names if _without_digits(name) == _without_digits(path.stem)]
    if close and set(close) <= set(numbered):
        # Checkpoints of one run: the last one is most likely meant.
        close = sorted(numbered, key=_numbers, reverse=True)[:3]
    if close:
        return ' Did you mean ' + ' or '.join(str(names[name]) for name in close) + '?'
    return ' Check the path.'


def _without_digits(name: str) -> str:
    return re.sub(r'\d+', '', name)


def _numbers(name: str) -> list[int]:
    return [int(digits) for digits in re.findall(r'\d+', name)]
