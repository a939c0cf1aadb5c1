"""Environments that mmrest is tested in, and the record of the results, docs/compatibility.json.

noxfile.py makes the environments and imports this module, which therefore needs the standard library only. The record
has one entry for each cell that was run; a new run replaces the entry of its cell.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import shutil
import subprocess
import xml.etree.ElementTree
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / 'docs' / 'compatibility.json'
CONSTRAINTS = ROOT / 'constraints.txt'

OPENMMLAB = ('mmcv-lite', 'mmengine', 'mmdet', 'mmsegmentation', 'mmpretrain')
ONEDL = (
    'onedl-mmcv==2.3.6',
    'onedl-mmengine==0.10.12',
    'onedl-mmdetection==3.5.1',
    'onedl-mmsegmentation==1.4.2',
    'onedl-mmpretrain==1.3.6',
)
LIBRARIES = ('torch', 'torchvision', *OPENMMLAB, 'ftfy', 'regex', 'numpy', 'opencv-python', 'modelindex')
TESTS = (
    'pytest',
    'pytest-xdist',
    'hypothesis',
    'onnx',
    'onnxruntime',
    'onnxscript',
    'tensorboard',
    'safetensors',
    'huggingface-hub',
)
# Distributions that each column of the record may be installed from.
DISTRIBUTIONS = {
    'torch': ('torch',),
    'torchvision': ('torchvision',),
    'numpy': ('numpy',),
    'opencv': ('opencv-python', 'opencv-python-headless'),
    'mmengine': ('mmengine', 'onedl-mmengine'),
    'mmcv': ('mmcv-lite', 'mmcv', 'onedl-mmcv'),
    'mmdet': ('mmdet', 'onedl-mmdetection'),
    'mmseg': ('mmsegmentation', 'onedl-mmsegmentation'),
    'mmpretrain': ('mmpretrain', 'onedl-mmpretrain'),
}


@dataclass(frozen=True)
class Cell:
    """An environment and the tests that are run in it.

    Attributes:
        python (str): Version of Python, e.g. '3.11'.
        packages (tuple[str]): Packages to install beside those of the tests, in the versions of constraints.txt.
        pins (tuple[str]): Requirements that replace those of constraints.txt.
        free (tuple[str]): Packages whose version pip chooses.
        compiled (bool): Compile the operators of mmcv instead of using those of mmrest.
        whole (bool): Run all tests of ``make test`` instead of those marked ``matrix``.
    """

    python: str
    packages: tuple[str, ...] = LIBRARIES
    pins: tuple[str, ...] = ()
    free: tuple[str, ...] = ()
    compiled: bool = False
    whole: bool = False


# The mmdet of OneDL requires versions of OpenCV and NumPy of its own.
FORK = dict(
    packages=(*(name for name in LIBRARIES if name not in OPENMMLAB), *ONEDL),
    free=('numpy', 'opencv-python', 'opencv-python-headless', 'scipy'),
)
CELLS = {
    'py311-default': Cell('3.11', whole=True),
    'py310-default': Cell('3.10'),
    'py312-default': Cell('3.12'),
    'py313-default': Cell('3.13'),
    'py311-numpy1': Cell(
        '3.11',
        pins=('numpy==1.26.4', 'opencv-python==4.11.0.86', 'opencv-python-headless==4.11.0.86', 'ml-dtypes==0.5.4'),
    ),
    # Without torchvision, which has no build for every build of this torch, and mmpretrain, which needs it.
    'py311-compiled': Cell(
        '3.11',
        ('torch', 'mmengine', 'mmdet', 'mmsegmentation', 'ftfy', 'regex', 'numpy', 'opencv-python'),
        ('torch==2.13.0', 'mmcv==2.1.0'),
        compiled=True,
    ),
    'py310-oldest-torch': Cell('3.10', pins=('torch==2.4.1', 'torchvision==0.19.1')),
    'py312-fork': Cell('3.12', **FORK),
    'py313-fork': Cell('3.13', **FORK),
}


# --- Before an environment is made ---


def find_python(version: str, environ: dict[str, str] | None = None) -> str | None:
    """Return the path of a Python of this version from pyenv or PATH, or None."""
    environ = dict(os.environ) if environ is None else environ
    pyenv = Path(environ.get('PYENV_ROOT') or Path.home() / '.pyenv')
    found = sorted(pyenv.glob(f'versions/{version}.*/bin/python'), key=lambda path: _numbers(path.parts[-3]))
    candidates = [str(path) for path in reversed(found)] + [shutil.which(f'python{version}', path=environ.get('PATH'))]
    return next((path for path in candidates if path and _runs(path, version)), None)


def _numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r'\d+', text)]


def _runs(python: str, version: str) -> bool:
    """Check the version of a Python by running it, as a shim of pyenv may exist without a Python behind it."""
    code = 'import sys; print("%d.%d" % sys.version_info[:2])'
    result = subprocess.run([python, '-c', code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return result.returncode == 0 and result.stdout.strip() == version


def package_name(requirement: str) -> str:
    """Return the normalized name of the package in a requirement; '' for a comment or an empty line."""
    match = re.match(r'\s*([A-Za-z0-9][\w.-]*)', requirement)
    return re.sub(r'[-_.]+', '-', match[1]).lower() if match else ''


def make_constraints(cell: Cell, text: str) -> str:
    """Return the text of the constraints of a cell, given the text of constraints.txt."""
    replaced = {package_name(each) for each in (*cell.pins, *cell.free)}
    lines = [line for line in text.splitlines() if package_name(line) and package_name(line) not in replaced]
    return '\n'.join([*lines, *cell.pins]) + '\n'


# --- After the tests ---


def installed_versions(python: str) -> dict[str, str]:
    """Return the versions of Python and of installed packages in an environment, by column of the record."""
    code = (
        'import json, platform, sys; from importlib import metadata\n'
        'found = {d.metadata["Name"].lower().replace("_", "-"): d.version for d in metadata.distributions()}\n'
        'print(json.dumps([platform.python_version(), found]))'
    )
    output = subprocess.run([python, '-I', '-c', code], stdout=subprocess.PIPE, text=True, check=True).stdout
    python_version, found = json.loads(output)
    result = {'python': python_version}
    for column, names in DISTRIBUTIONS.items():
        installed = [f'{name} {found[name]}' for name in names if name in found]
        if installed:
            result[column] = ', '.join(installed)
    return result


def read_results(report: Path) -> dict:
    """Return the counts of a JUnit report of pytest, and the failed tests with the first line of their message."""
    counts = dict(passed=0, failed=0, skipped=0)
    failures = {}
    for case in xml.etree.ElementTree.parse(report).iter('testcase'):
        wrong = [part for part in case if part.tag in ('failure', 'error')]
        if wrong:
            counts['failed'] += 1
            name = '::'.join(filter(None, [case.get('classname'), case.get('name')]))
            lines = (wrong[0].get('message') or wrong[0].text or '').strip().splitlines() or ['']
            failures[name] = lines[0].replace(f'{ROOT}/', '')
        else:
            counts['skipped' if case.find('skipped') is not None else 'passed'] += 1
    return dict(**counts, failures=failures)


def processor_name() -> str:
    """Return the name of the processor by lscpu; '' if lscpu does not give it."""
    try:
        output = subprocess.run(['lscpu'], stdout=subprocess.PIPE, text=True, env={**os.environ, 'LC_ALL': 'C'}).stdout
    except OSError:
        return ''
    match = re.search(r'^Model name:\s*(.+)$', output, re.MULTILINE)
    return match[1].strip() if match else ''


def folder_megabytes(folder: Path) -> int:
    """Return the total size of the files in a folder in MB; hard links count once."""
    sizes = {}
    for path in folder.rglob('*'):
        if path.is_file() and not path.is_symlink():
            status = path.stat()
            sizes[status.st_dev, status.st_ino] = status.st_size
    return round(sum(sizes.values()) / 1e6)


def make_entry(cell: Cell, python: str, report: Path, folder: Path, install_seconds: float, whole: bool) -> dict:
    """Return the entry of a cell that was run.

    Args:
        cell (Cell): The environment.
        python (str): Path of the Python in the environment.
        report (Path): JUnit report of the tests.
        folder (Path): Folder of the environment.
        install_seconds (float): Time of the installation in seconds.
        whole (bool): All tests of ``make test`` were run.
    """
    return dict(
        date=datetime.date.today().isoformat(),
        versions=installed_versions(python),
        operators='compiled' if cell.compiled else 'mmrest',
        processor=processor_name(),
        tests='make test' if whole else 'matrix',
        **read_results(report),
        install_seconds=round(install_seconds),
        megabytes=folder_megabytes(folder),
    )


def read_record(path: Path = RECORD) -> dict[str, dict]:
    """Return the entries of the record by the name of their cell, in the order of :data:`CELLS`."""
    entries = json.loads(path.read_text(encoding='utf-8')) if path.is_file() else {}
    return {name: entries[name] for name in CELLS if name in entries}


def write_entry(name: str, new: dict, path: Path = RECORD) -> None:
    """Write the entry of a cell into the record, replacing an older one."""
    entries = {**read_record(path), name: new}
    text = json.dumps({name: entries[name] for name in CELLS if name in entries}, indent=2) + '\n'
    # As mmrest.utils.fileio.atomic_write does, which is not there where only nox is installed.
    partial = path.with_name(f'.{path.name}.{os.getpid()}.partial')
    partial.write_text(text, encoding='utf-8')
    os.replace(partial, path)
