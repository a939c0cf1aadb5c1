"""Wheels that a machine without a network needs beside torch: fetch them here, install them there.

Needs the standard library and pip, and ``packaging`` to fetch.
"""

from __future__ import annotations

import importlib.util
import re
import site
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / '.wheels'
PYTHON = '3.12'
# In the versions of constraints.txt. Not torch, torchvision, Triton, NumPy, OpenCV, SciPy, matplotlib and pytest, nor
# what these need: the machine has them.
CARRIED = (
    'mmengine',
    'mmcv-lite',
    'mmdet',
    'mmsegmentation',
    'mmpretrain',
    # mmengine
    'addict',
    'pyyaml',
    'rich',
    'markdown-it-py',
    'mdurl',
    'pygments',
    'termcolor',
    'yapf',
    'platformdirs',
    'setuptools',
    # mmdet
    'pycocotools',
    'shapely',
    'six',
    'terminaltables',
    'tqdm',
    # mmsegmentation
    'ftfy',
    'regex',
    'prettytable',
    'wcwidth',
    # mmpretrain
    'einops',
    'importlib-metadata',
    'lazy-importer',
    'zipp',
    'mat4py',
    'modelindex',
    'model-index',
    'click',
    'markdown',
    'ordered-set',
)
# C libraries that wheels are built against; pip matches each by its name.
PLATFORMS = ('2_28', '2_27', '2_24', '2_17', '2014', '2_12', '2010', '2_5', '1')
LIMIT_MB = 64  # of repository and wheels together
NEEDED = ('mmengine', 'mmcv', 'mmdet', 'mmseg')


class WheelError(RuntimeError):
    """A wheel cannot be fetched or installed; the message says why."""


def pins(text: str, python: str = PYTHON) -> dict[str, str]:
    """Return the requirements of the text of constraints.txt that hold for a Python, by normalized name."""
    from packaging.requirements import Requirement

    found = {}
    for line in text.splitlines():
        line = line.partition('#')[0].strip()
        if line:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({'python_version': python}):
                found[_normalized(requirement.name)] = f'{requirement.name}{requirement.specifier}'
    return found


def fetch_command(folder: Path, text: str) -> list[str]:
    """Return the command of pip that fetches all wheels into a folder.

    Raises:
        WheelError: The text of constraints.txt lacks one of them.
    """
    versions = pins(text)
    lacking = [name for name in CARRIED if name not in versions]
    if lacking:
        raise WheelError(f'constraints.txt has no version of {", ".join(lacking)}.')
    platforms = [part for tag in PLATFORMS for part in ('--platform', f'manylinux{"_" * ("_" in tag)}{tag}_x86_64')]
    return [
        *(sys.executable, '-m', 'pip', 'download', '-q', '--no-deps', '--only-binary=:all:'),
        *('--python-version', PYTHON, '--implementation', 'cp', *platforms, '-d', str(folder)),
        *(versions[name] for name in CARRIED),
    ]


def fetch(folder: Path = FOLDER) -> list[Path]:
    """Fetch the wheels that a folder lacks, and remove from it those of other versions.

    Raises:
        WheelError: pip could not fetch them.
    """
    text = (ROOT / 'constraints.txt').read_text(encoding='utf-8')
    folder.mkdir(parents=True, exist_ok=True)
    if subprocess.run(fetch_command(folder, text)).returncode:
        raise WheelError('pip could not fetch the wheels: see above.')
    versions, kept = pins(text), {}
    for path in sorted(folder.glob('*.whl')):
        name, version = path.name.split('-')[:2]
        name = _normalized(name)
        if name in CARRIED and versions[name].endswith(f'=={version}'):
            kept[name] = path
        else:
            path.unlink()
    missing = [name for name in CARRIED if name not in kept]
    if missing:
        raise WheelError(f'{folder} lacks {", ".join(missing)} in the version of constraints.txt.')
    return list(kept.values())


def repository_megabytes() -> float:
    """Return the size of the files that git tracks."""
    names = subprocess.run(['git', 'ls-files', '-z'], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    return sum((ROOT / name).lstat().st_size for name in names.split('\0') if name) / 1e6


def lacking(names: tuple[str, ...] = NEEDED) -> list[str]:
    """Return the modules that cannot be found."""
    return [name for name in names if importlib.util.find_spec(name) is None]


def install(folder: Path, target: Path) -> int:
    """Install all wheels of a folder into another one, and put that on ``sys.path``; no network is asked.

    Args:
        folder (Path): With the wheels.
        target (Path): Where to; it is not an environment, and goes on PYTHONPATH as well.

    Returns:
        int: How many there were.

    Raises:
        WheelError: pip could not install them.
    """
    wheels = sorted(str(path) for path in folder.glob('*.whl'))
    if wheels:
        command = [sys.executable, '-m', 'pip', 'install', '-q', '--no-index', '--no-deps', '--no-compile']
        command += ['--find-links', str(folder), '--target', str(target), '--upgrade', '--no-cache-dir', '--isolated']
        result = subprocess.run(command + wheels, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if result.returncode:
            raise WheelError(f'pip could not install the wheels of {folder}:\n{result.stdout[-2000:]}')
        # Of setuptools, the file that gives Python 3.12 its distutils back, which mmengine imports, is read in folders
        # of packages alone; the folder becomes one in every process that has it on PYTHONPATH.
        (target / 'sitecustomize.py').write_text('import os, site\nsite.addsitedir(os.path.dirname(__file__))\n')
        site.addsitedir(str(target))
        sys.path.insert(0, str(target))
        importlib.invalidate_caches()
    return len(wheels)


def _normalized(name: str) -> str:
    return re.sub(r'[-_.]+', '-', name).lower()
