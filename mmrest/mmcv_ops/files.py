"""A file in the installed mmcv that makes its operators work whatever is imported first."""

from __future__ import annotations

from pathlib import Path

from ..utils.fileio import atomic_write
from .finder import find_compiled, load_compiled, mmcv_folder

LINE = (
    "__import__('sys').modules[__name__] = __import__('mmrest.mmcv_ops', fromlist=['provide']).provide()"
    '  # by: python -m mmrest.mmcv_ops --install\n'
)


def file_path(folder: Path) -> Path:
    """Return where the file belongs: beside a compiled extension only a package comes before it."""
    return folder / '_ext' / '__init__.py' if find_compiled(folder) else folder / '_ext.py'


def installed_file(folder: Path) -> Path | None:
    """Return the file that :func:`install` wrote into ``folder``; None where there is none."""
    for path in (folder / '_ext.py', folder / '_ext' / '__init__.py'):
        if path.is_file() and path.read_text(encoding='utf-8') == LINE:
            return path
    return None


def _folder() -> Path:
    folder = mmcv_folder()
    if folder is None:
        raise FileNotFoundError('mmcv is not installed: python -m pip install mmcv-lite==2.1.0')
    return folder


def install() -> str:
    """Write the file into the installed mmcv and say what was done.

    Where mmcv's operators are compiled for CUDA, or for the CPU and torch is built without CUDA, nothing is written.

    Raises:
        FileNotFoundError: There is no mmcv.
        FileExistsError: ``mmcv._ext`` is somebody else's file.
        OSError: The folder cannot be written to.
    """
    import torch

    folder = _folder()
    compiled = find_compiled(folder)
    if installed_file(folder):
        return f'Already there: {installed_file(folder)}'
    if compiled and (
        torch.version.cuda is None or load_compiled(compiled).get_compiling_cuda_version() != 'not available'
    ):
        return f"Nothing to do: mmcv's own compiled operators are there, in {compiled}"
    path = file_path(folder)
    if path.exists() or (folder / '_ext.py').exists():
        raise FileExistsError(
            f'{path if path.exists() else folder / "_ext.py"} is there already and not from mmrest: it is left alone.'
        )
    atomic_write(path, LINE.encode())  # never a file that is half written
    return f"Written: {path}. mmcv's operators work in every program of this environment."


def remove() -> str:
    """Remove the file and say what was done.

    Raises:
        FileNotFoundError: There is no mmcv.
    """
    path = installed_file(_folder())
    if path is None:
        return 'Nothing to do: there is no file of mmrest in mmcv.'
    path.unlink()
    if path.parent.name == '_ext':
        for left in path.parent.glob('__pycache__/*'):
            left.unlink()
        for folder in (path.parent / '__pycache__', path.parent):
            if folder.is_dir():
                folder.rmdir()
    return f"Removed: {path}. mmcv's operators work where mmrest is imported before them."


def status() -> str:
    """Say which mmcv is there, and where its operators come from.

    Raises:
        FileNotFoundError: There is no mmcv.
    """
    folder = _folder()
    compiled, path = find_compiled(folder), installed_file(folder)
    return '\n'.join(
        [
            f'mmcv:      {folder}',
            f'compiled:  {compiled or "no"}',
            f'file:      {path or "no (python -m mmrest.mmcv_ops --install writes it)"}',
        ]
    )
