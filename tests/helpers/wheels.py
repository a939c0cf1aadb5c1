"""Wheels of the sources, and environments that must not see the repository."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

from conftest import run_process

SOURCES = (
    'LICENSE',
    'MANIFEST.in',
    'README.md',
    'CITATION.cff',
    'model-index.yml',
    'constraints.txt',
    'Makefile',
    'pyproject.toml',
    'setup.py',
    'mmrest_cli.py',
    'mmrest',
    'configs',
    'tools',
    'docs',
)
# Folders that git ignores.
BUILT = re.compile(r'build/|mmrest\.egg-info/')
# As a frontend of builds would call them, without fetching anything.
CALL_BACKEND = 'import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))'


def clean_environment(**more: str) -> dict[str, str]:
    """Return the environment variables without PYTHONPATH, for processes that must not see the repository."""
    return {**{key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}, **more}


def hide_packages(folder: Path, *paths: Path) -> dict[str, str]:
    """Return environment variables with which Python finds no installed packages, only those in some folders.

    Args:
        folder (Path): Folder for a file that makes it so.
        paths (Path): Folders of packages that are found.
    """
    (folder / 'sitecustomize.py').write_text('import sys; sys.path[:] = [p for p in sys.path if "-packages" not in p]')
    return clean_environment(PYTHONPATH=os.pathsep.join(map(str, (folder, *paths))))


def list_files(folder: Path) -> set[str]:
    """Return the paths of all files below a folder, relative to it."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob('*') if path.is_file()}


def copy_sources(repo: Path, folder: Path) -> Path:
    """Copy to a new folder what a checkout has, and return it."""
    folder.mkdir()
    for name in SOURCES:
        if (repo / name).is_dir():
            shutil.copytree(repo / name, folder / name, ignore=shutil.ignore_patterns('__pycache__'))
        else:
            shutil.copy2(repo / name, folder / name)
    return folder


def build(kind: str, source: Path, out: Path) -> Path:
    """Build an 'editable', a 'wheel' or an 'sdist' of a source folder, changing nothing else in it.

    Returns:
        Path: The file that was made in ``out``.
    """
    before = list_files(source)
    out.mkdir(exist_ok=True)
    printed = run_process([sys.executable, '-c', CALL_BACKEND, f'build_{kind}', out], source, clean_environment())
    assert [name for name in sorted(list_files(source) ^ before) if not BUILT.match(name)] == []
    return out / printed.strip().splitlines()[-1]
