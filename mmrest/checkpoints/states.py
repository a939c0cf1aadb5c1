"""Validation of checkpoints to resume from."""

from __future__ import annotations

import logging
import re
import zipfile
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

from .safe import CheckpointError, load_file

# Parts that mmengine needs to resume.
_PARTS = ('meta', 'state_dict', 'message_hub')


def check_state(path: str | Path, optimizer: bool = True) -> dict[str, Any]:
    """Check that training can be resumed from a checkpoint; never runs code from it.

    All checksums in the file are verified. Weights are not loaded into memory.

    Args:
        path (str | Path): Local file.
        optimizer (bool): Require the state of an optimizer.

    Returns:
        dict: ``meta`` of the checkpoint, with ``epoch`` and ``iter``.

    Raises:
        CheckpointNotFoundError: The file does not exist.
        CheckpointError: The file is empty, truncated, corrupt, refused, or has no training state.
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
    meta: Any = held.get('meta')
    if not missing:
        missing = [f'meta.{key}' for key in ('epoch', 'iter') if type(meta.get(key)) is not int or meta[key] < 0]
    if missing:
        raise CheckpointError(
            f'{path} holds no state that training can be resumed from (it has no '
            f'{", ".join(missing)}). To start a new training from its weights: --cfg-options '
            f'load_from={path}, without --resume.'
        )
    return meta


def _check_sums(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except Exception as error:  # a corrupt archive may raise anything
        raise CheckpointError(f'{path} is damaged ({type(error).__name__}: {error}).') from error
    if broken:
        raise CheckpointError(f'{path} is damaged: the checksum of {broken} in it is wrong.')


def find_latest_checkpoint(
    folder: str | Path, template: str = 'epoch_{}.pth', optimizer: bool = True
) -> tuple[Path, dict[str, Any]] | None:
    """Find the latest valid checkpoint in the work dir of a run; newer invalid ones are logged as warnings.

    Checkpoints are ordered by the number in their names. mmengine's file ``last_checkpoint`` is not used: it may be
    outdated, or name a checkpoint elsewhere or an invalid one.

    Args:
        folder (str | Path): Folder of the checkpoints.
        template (str): File name template with ``{}`` for the number.
        optimizer (bool): As in :func:`check_state`.

    Returns:
        tuple[Path, dict] | None: File and its ``meta``; None if there are no checkpoints.

    Raises:
        CheckpointError: There are checkpoints, but none is valid.
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
                f'Not resuming from {path.name}, which is kept: {error}',
                logger='current',
                level=logging.WARNING,
            )
            continue
        _compare_with_note(folder, path)
        return path, meta
    if faults:
        listed = '\n'.join(f'  {fault}' for fault in faults)
        raise CheckpointError(
            f'No checkpoint in {folder} is valid:\n{listed}\nTo start from the beginning, move them '
            'away or leave out --resume.'
        )
    return None


def _compare_with_note(folder: Path, path: Path) -> None:
    """Log a warning if mmengine's ``last_checkpoint`` names another checkpoint."""
    try:
        with (folder / 'last_checkpoint').open(encoding='utf-8', errors='replace') as file:
            named = file.read(4096).strip()
    except OSError:
        return  # not written yet if the run was killed right after its first checkpoint
    # Compare the end of the path only: the work dir may have been moved or may be relative.
    if Path(named).name != path.name or Path(named).parent.name not in ('', folder.resolve().name):
        content = f'names {named[:200]!r}' if named else 'is empty'
        print_log(
            f'Resuming from {path}, the latest valid checkpoint; the file last_checkpoint in this folder {content} '
            'and is ignored.',
            logger='current',
            level=logging.WARNING,
        )
