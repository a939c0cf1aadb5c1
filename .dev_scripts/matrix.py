"""The environments that mmrest is tested in, and the record of what came of it: docs/compatibility.json.

noxfile.py makes the environments; this module needs the standard library only. ``docs/compatibility.json`` has one
entry for each cell that was run. A run replaces the entry of its own cell.
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
TESTS = ('pytest', 'pytest-xdist', 'hypothesis', 'onnx', 'onnxruntime', 'onnxscript', 'tensorboard')
# What each column of the record is installed as, by any family of libraries.
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
        packages (tuple[str]): What is installed beside what the tests need; in the versions of constraints.txt.
        pins (tuple[str]): Versions that take the place of those in constraints.txt.
        free (tuple[str]): Packages whose version is left to pip, in spite of constraints.txt.
        compiled (bool): Compile mmcv's operators instead of using those of mmrest.
        whole (bool): Run all tests that ``make test`` runs, not only those marked ``matrix``.
    """

    python: str
    packages: tuple[str, ...] = LIBRARIES
    pins: tuple[str, ...] = ()
    free: tuple[str, ...] = ()
    compiled: bool = False
    whole: bool = False


# OneDL's mmdet asks for an OpenCV and a NumPy in which its image corruptions work.
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
    # Without torchvision and mmpretrain, which imports it: there is none for a torch that may be CPU-only.
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
    """Return the path of a Python of this version, of pyenv or on PATH; None where there is none."""
    environ = dict(os.environ) if environ is None else environ
    pyenv = Path(environ.get('PYENV_ROOT') or Path.home() / '.pyenv')
    found = sorted(pyenv.glob(f'versions/{version}.*/bin/python'), key=lambda path: _numbers(path.parts[-3]))
    candidates = [str(path) for path in reversed(found)] + [shutil.which(f'python{version}', path=environ.get('PATH'))]
    return next((path for path in candidates if path and _runs(path, version)), None)


def _numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r'\d+', text)]


def _runs(python: str, version: str) -> bool:
    """Tell whether a Python is of this version; a shim of pyenv may be there without any."""
    code = 'import sys; print("%d.%d" % sys.version_info[:2])'
    result = subprocess.run([python, '-c', code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return result.returncode == 0 and result.stdout.strip() == version


def name_of(requirement: str) -> str:
    """Return the normalized name of the package that a requirement is about; '' for a comment or an empty line."""
    match = re.match(r'\s*([A-Za-z0-9][\w.-]*)', requirement)
    return re.sub(r'[-_.]+', '-', match[1]).lower() if match else ''


def constraints_of(cell: Cell, text: str) -> str:
    """Return the constraints of a cell, made from the text of constraints.txt."""
    replaced = {name_of(each) for each in (*cell.pins, *cell.free)}
    lines = [line for line in text.splitlines() if name_of(line) and name_of(line) not in replaced]
    return '\n'.join([*lines, *cell.pins]) + '\n'


# --- After the tests ---


def versions(python: str) -> dict[str, str]:
    """Return what is installed in the environment of a Python, by column of the record."""
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


def results(report: Path) -> dict:
    """Return the counts of a JUnit report of pytest, and the failed tests with the first line of why."""
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


def processor() -> str:
    """Return the name of the processor, as lscpu has it; '' where it does not say."""
    try:
        output = subprocess.run(['lscpu'], stdout=subprocess.PIPE, text=True, env={**os.environ, 'LC_ALL': 'C'}).stdout
    except OSError:
        return ''
    match = re.search(r'^Model name:\s*(.+)$', output, re.MULTILINE)
    return match[1].strip() if match else ''


def megabytes(folder: Path) -> int:
    """Return the size of the files in a folder; a file with several names counts once."""
    sizes = {}
    for path in folder.rglob('*'):
        if path.is_file() and not path.is_symlink():
            status = path.stat()
            sizes[status.st_dev, status.st_ino] = status.st_size
    return round(sum(sizes.values()) / 1e6)


def entry(cell: Cell, python: str, report: Path, folder: Path, install_seconds: float, whole: bool) -> dict:
    """Return what the record says of a cell that was run.

    Args:
        cell (Cell): The environment.
        python (str): Its Python.
        report (Path): JUnit report of its tests.
        folder (Path): Where it is installed.
        install_seconds (float): Time that took.
        whole (bool): All tests that ``make test`` runs were run.
    """
    return dict(
        date=datetime.date.today().isoformat(),
        versions=versions(python),
        operators='compiled' if cell.compiled else 'mmrest',
        processor=processor(),
        tests='make test' if whole else 'matrix',
        **results(report),
        install_seconds=round(install_seconds),
        megabytes=megabytes(folder),
    )


def read(path: Path = RECORD) -> dict[str, dict]:
    """Return the record: entries by the name of their cell, in the order of :data:`CELLS`."""
    entries = json.loads(path.read_text(encoding='utf-8')) if path.is_file() else {}
    return {name: entries[name] for name in CELLS if name in entries}


def write(name: str, new: dict, path: Path = RECORD) -> None:
    """Put the entry of a cell into the record, in the place of an older one."""
    entries = {**read(path), name: new}
    text = json.dumps({name: entries[name] for name in CELLS if name in entries}, indent=2) + '\n'
    partial = path.with_name(f'.{path.name}.{os.getpid()}.partial')
    partial.write_text(text, encoding='utf-8')
    os.replace(partial, path)
