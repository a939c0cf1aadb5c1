"""Find the configs and tools of mmrest: inside an installed package, or beside it in the repository.

Standard library only, and without imports from mmrest: ``mmrest configs`` runs this file by its path.
"""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
INDEX = 'model-index.yml'
LIST_ALL = 'List them all: mmrest configs --list'


def resources() -> Path:
    """Return the folder with ``configs/``, ``tools/`` and ``model-index.yml``.

    That is ``mmrest/.mim`` of an installed package, where the tools of OpenMMLab look, and the top folder of the
    repository and of an editable installation.

    Raises:
        FileNotFoundError: The package was not installed with its setup.py.
    """
    for folder in (PACKAGE / '.mim', PACKAGE.parent):
        # Beside an installed package, configs/ alone may be another project's.
        if (folder / 'configs').is_dir() and (folder / INDEX).is_file():
            return folder
    raise FileNotFoundError(
        f'mmrest in {PACKAGE} has no configs: reinstall it from the repository or from a wheel with '
        'python -m pip install.'
    )


def list_configs() -> list[str]:
    """Return the names of all configs that can be run, e.g. 'published/rest_lite_224_in1k_3rdparty'."""
    return [name for name in _names(resources() / 'configs') if '_base_' not in name.split('/')]


def get_config_path(name: str) -> str:
    """Return the path of a config of this package, for ``Config.fromfile``, tools and ``_base_``.

    In a config file, without an import statement, which would make mmengine parse it as a pure Python config::

        _base_ = __import__('mmrest').get_config_path('retinanet_rest_small_fpn_1x_coco')

    Args:
        name (str): Path below ``configs/``, with or without ``.py``, e.g. ``'upernet_rest_lite_shapes'``,
            ``'published/rest_lite_224_in1k_3rdparty'`` or ``'_base_/schedules/adamw_1x'``.

    Returns:
        str: Absolute path.

    Raises:
        FileNotFoundError: There is no config of this name; the message suggests similar ones.
    """
    folder = resources() / 'configs'
    names = _names(folder)
    wanted = str(name).removesuffix('.py')
    if wanted in names:
        return str(folder / f'{wanted}.py')
    # The same name in another folder, or else similar names.
    close = [other for other in names if other.split('/')[-1] == wanted.split('/')[-1]]
    close = close or difflib.get_close_matches(wanted, names, n=3, cutoff=0.6)
    hint = f'Did you mean {" or ".join(close)}?' if close else LIST_ALL
    raise FileNotFoundError(f'mmrest has no config {name}. {hint}')


def tool_command(name: str) -> str:
    """Return the command that runs a tool from the current folder, for messages, e.g. 'python tools/train.py'."""
    return f'python {relative_to_here(resources() / "tools" / name)}'


def relative_to_here(path: Path) -> Path:
    """Return an absolute path relative to the current folder if it lies in it, and unchanged otherwise."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).with_suffix('').as_posix() for path in folder.rglob('*.py'))


def find_configs(pattern: str) -> list[str]:
    """Return the names of the configs in which a regular expression is found, in either case.

    Raises:
        ValueError: It is no regular expression.
        FileNotFoundError: No name matches.
    """
    try:
        names = [name for name in list_configs() if re.search(pattern, name, re.IGNORECASE)]
    except re.error as error:
        raise ValueError(f'{pattern} is no regular expression: {error}.') from None
    if not names:
        raise FileNotFoundError(f'mmrest has no config with {pattern} in its name. {LIST_ALL}')
    return names


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description='Print the path of a config, or the names of configs.')
    choice = parser.add_mutually_exclusive_group(required=True)
    choice.add_argument('name', nargs='?', help='config whose path is printed, e.g. retinanet_rest_small_fpn_1x_coco')
    choice.add_argument('--list', action='store_true', help='print the names of all configs')
    choice.add_argument(
        '--grep', metavar='PATTERN', help='print the names in which a regular expression is found, e.g. "upernet.*tiny"'
    )
    choice.add_argument('--tools', action='store_true', help='print the folder of the tools')
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the command line ``mmrest configs``."""
    args = build_parser().parse_args(argv)
    try:
        if args.list:
            print('\n'.join(list_configs()))
        elif args.grep is not None:
            print('\n'.join(find_configs(args.grep)))
        else:
            print(resources() / 'tools' if args.tools else get_config_path(args.name))
    except (FileNotFoundError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        raise SystemExit(2) from None
