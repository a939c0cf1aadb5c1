"""Where the configs and tools that belong to this package are: in the package, or beside it in the repository.

This module uses the standard library only.
"""

from __future__ import annotations

import difflib
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
INDEX = 'model-index.yml'


def resources() -> Path:
    """The folder with ``configs/``, ``tools/`` and ``model-index.yml``.

    An installed package has it in ``.mim``, where the tools of OpenMMLab look; in the repository, and in an
    editable installation of it, it is the top folder.

    Raises:
        FileNotFoundError: There is none; the package was not installed as its setup.py says.
    """
    for folder in (PACKAGE / '.mim', PACKAGE.parent):
        # Beside an installed package, configs/ alone may be another project's.
        if (folder / 'configs').is_dir() and (folder / INDEX).is_file():
            return folder
    raise FileNotFoundError(
        f'mmrest in {PACKAGE} has no configs: install it anew, with python -m pip install and the '
        'repository or a wheel made from it.'
    )


def list_configs() -> list[str]:
    """Names of all configs that can be run, as :func:`get_config_path` takes them, e.g. 'published/...'."""
    return [name for name in _names(resources() / 'configs') if '_base_' not in name.split('/')]


def get_config_path(name: str) -> str:
    """Path of a config that came with this package, for ``Config.fromfile``, tools, and ``_base_`` of a config.

    In a config of one's own, where imports would make it one of another kind::

        _base_ = __import__('mmrest').get_config_path('retinanet_rest_small_fpn_1x_coco')

    Args:
        name (str): Name with or without ``.py``; of one in a subfolder with that before it, e.g.
            ``'published/rest_lite_224_in1k_3rdparty'``. Files in ``_base_`` have names, too.

    Returns:
        str: Absolute path.

    Raises:
        FileNotFoundError: There is no config of this name; the message names those that are almost called so.
    """
    folder = resources() / 'configs'
    names = _names(folder)
    wanted = str(name).removesuffix('.py')
    if wanted in names:
        return str(folder / f'{wanted}.py')
    # Right but for the folder, else similar.
    close = [other for other in names if other.split('/')[-1] == wanted.split('/')[-1]]
    close = close or difflib.get_close_matches(wanted, names, n=3, cutoff=0.6)
    hint = f'Did you mean {" or ".join(close)}?' if close else 'All of them: python -m mmrest.config_path --list'
    raise FileNotFoundError(f'mmrest has no config {name}. {hint}')


def tool_command(name: str) -> str:
    """How to run one of the tools from the current folder, for messages: in the repository, 'python tools/...'."""
    return f'python {relative_to_here(resources() / "tools" / name)}'


def relative_to_here(path: Path) -> Path:
    """An absolute path as one would type it: relative if it lies in the current folder."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).with_suffix('').as_posix() for path in folder.rglob('*.py'))
