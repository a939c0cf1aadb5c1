"""Installation of a file in mmcv that provides its operators independently of import order."""

from __future__ import annotations

from pathlib import Path

from ..utils.fileio import atomic_write
from .finder import find_compiled, load_compiled, mmcv_folder

LINE = (
    "__import__('sys').modules[__name__] = __import__('mmrest.mmcv_ops', fromlist=['provide']).provide()"
    '  # by: python -m mmrest.mmcv_ops --install\n'
)


def file_path(folder: Path) -> Path:
    """Return the path to install to: a package if there is a compiled extension, over which it takes precedence."""
    return folder / '_ext' / '__init__.py' if find_compiled(folder) else folder / '_ext.py'


def installed_file(folder: Path) -> Path | None:
    """Return the file written by :func:`install` in a folder; None if there is none."""
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
    """Provide mmcv's operators in every program, by a file in the installed mmcv.

    Nothing is written if mmcv has compiled operators for CUDA, or for the CPU with a torch built without CUDA.

    Returns:
        str: Message about the result.

    Raises:
        FileNotFoundError: mmcv is not installed.
        FileExistsError: ``mmcv._ext`` exists and is not from mmrest.
        OSError: The folder is not writable.
    """
    import torch

    folder = _folder()
    compiled = find_compiled(folder)
    if installed_file(folder):
        return f'Already installed: {installed_file(folder)}'
    if compiled and (
        torch.version.cuda is None or load_compiled(compiled).get_compiling_cuda_version() != 'not available'
    ):
        return f'Nothing to do: mmcv has compiled operators, {compiled}'
    path = file_path(folder)
    if path.exists() or (folder / '_ext.py').exists():
        raise FileExistsError(
            f'{path if path.exists() else folder / "_ext.py"} exists and is not from mmrest: it is not overwritten.'
        )
    atomic_write(path, LINE.encode())
    return f"Written: {path}. mmcv's operators work in every program of this environment."


def remove() -> str:
    """Remove the file written by ``--install``.

    Returns:
        str: Message about the result.

    Raises:
        FileNotFoundError: mmcv is not installed.
    """
    path = installed_file(_folder())
    if path is None:
        return 'Nothing to do: there is no file of mmrest in mmcv.'
    path.unlink()
    if path.parent.name == '_ext':
        for cached in path.parent.glob('__pycache__/*'):
            cached.unlink()
        for folder in (path.parent / '__pycache__', path.parent):
            if folder.is_dir():
                folder.rmdir()
    return f"Removed: {path}. mmcv's operators work in programs that import mmrest first."


def status() -> str:
    """Show the installed mmcv and the source of its operators.

    Raises:
        FileNotFoundError: mmcv is not installed.
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
