"""Telling which of a run's checkpoints is whole, to resume from the last one that is."""

from __future__ import annotations

import logging
import re
import zipfile
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

from .safe import CheckpointError, load_file

# What mmengine needs to resume.
_PARTS = ('meta', 'state_dict', 'message_hub')


def check_state(path: str | Path, optimizer: bool = True) -> dict[str, Any]:
    """Check that a file is a whole checkpoint that training can be resumed from; runs no code from it.

    Every byte is read and compared with the checksums in the file, but no weights are kept in memory.

    Args:
        path (str | Path): A local file.
        optimizer (bool): The state of an optimizer has to be in it.

    Returns:
        dict: The ``meta`` of the checkpoint, with ``epoch`` and ``iter``.

    Raises:
        CheckpointNotFoundError: There is no such file.
        CheckpointError: It is empty, cut off, damaged, refused, or no state of a training run.
    """
    path = Path(path).expanduser()
    archive = path.is_file() and zipfile.is_zipfile(path)
    if archive:
        _check_sums(path)
    # On torch's device 'meta', tensors have shapes and no values.
    checkpoint = load_file(path, 'meta' if archive else 'cpu')
    held = checkpoint if isinstance(checkpoint, dict) else {}
    parts = (*_PARTS, 'optimizer') if optimizer else _PARTS
    missing = [part for part in parts if not isinstance(held.get(part), dict)]
    meta = held.get('meta')
    if not missing:
        missing = [f'meta.{key}' for key in ('epoch', 'iter') if type(meta.get(key)) is not int or meta[key] < 0]
    if missing:
        raise CheckpointError(
            f'{path} holds no state that training can be resumed from (it has no '
            f'{", ".join(missing)}). To start anew from its weights: --cfg-options '
            f'load_from={path}, without --resume.'
        )
    return meta


def _check_sums(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except Exception as error:  # a damaged archive fails in many ways, also by pointing outside the file
        raise CheckpointError(f'{path} is damaged ({type(error).__name__}: {error}).') from error
    if broken:
        raise CheckpointError(f'{path} is damaged: the checksum of {broken} in it is wrong.')


def find_last_state(
    folder: str | Path, template: str = 'epoch_{}.pth', optimizer: bool = True
) -> tuple[Path, dict[str, Any]] | None:
    """The newest whole checkpoint in the folder of a run; newer ones that are not whole are named in warnings.

    Files are told by their names, and ordered by the number in them. mmengine's note ``last_checkpoint`` is not
    followed: it may be older than the newest checkpoint, or name one that lies elsewhere or is broken.

    Args:
        folder (str | Path): Where the run writes its checkpoints.
        template (str): How they are named, with ``{}`` for the number.
        optimizer (bool): As in :func:`check_state`.

    Returns:
        tuple[Path, dict] | None: The file and its ``meta``; None if there is no checkpoint, broken or not.

    Raises:
        CheckpointError: There are checkpoints, and none of them is whole.
    """
    folder = Path(folder)
    pattern = re.compile(re.escape(template).replace(re.escape('{}'), r'(\d+)'))
    numbered = [
        (int(match[1]), path)
        for path in (folder.iterdir() if folder.is_dir() else [])
        if (match := pattern.fullmatch(path.name))
    ]
    faults = []
    for _, path in sorted(numbered, reverse=True):
        try:
            meta = check_state(path, optimizer)
        except (CheckpointError, OSError) as error:
            faults.append(str(error))
            print_log(
                f'Not resuming from {path.name}, which stays where it is: {error}',
                logger='current',
                level=logging.WARNING,
            )
            continue
        _compare_with_note(folder, path)
        return path, meta
    if faults:
        listed = '\n'.join(f'  {fault}' for fault in faults)
        raise CheckpointError(
            f'No checkpoint in {folder} is whole:\n{listed}\nTo start from the beginning, move them '
            'away or leave out --resume.'
        )
    return None


def _compare_with_note(folder: Path, path: Path) -> None:
    """Say so if mmengine's ``last_checkpoint`` names another checkpoint."""
    try:
        with (folder / 'last_checkpoint').open(encoding='utf-8', errors='replace') as file:
            named = file.read(4096).strip()
    except OSError:
        return  # as after a run that was killed between its first checkpoint and this note
    # Only the end of the path: a run's folder may have been moved, or be named from another directory.
    if Path(named).name != path.name or Path(named).parent.name not in ('', folder.resolve().name):
        content = f'names {named[:200]!r}' if named else 'is empty'
        print_log(
            f'Resuming from {path}, the newest whole checkpoint; the note last_checkpoint beside it {content}, '
            'which is not followed.',
            logger='current',
            level=logging.WARNING,
        )
