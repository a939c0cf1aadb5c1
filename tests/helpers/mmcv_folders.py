"""Copies of mmcv without operators, and processes that import them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import REPO

# Prints where the operators come from, and uses one.
USE_OPERATORS = (
    'import mmcv._ext; print(getattr(mmcv._ext, "PROVIDER", "compiled")); from mmcv.ops import nms; import torch; '
    'print(nms(torch.tensor([[0., 0., 2., 2.]]), torch.ones(1), 0.5)[1].tolist())'
)


def copy_mmcv_lite(folder: Path) -> Path:
    """Put an mmcv without compiled operators into a folder, and return the folder."""
    pytest.importorskip('mmcv')
    pytest.importorskip('torchvision')
    source = Path(find_spec('mmcv').submodule_search_locations[0])
    shutil.copytree(source, folder / 'mmcv', ignore=shutil.ignore_patterns('csrc', '_ext*', '__pycache__'))
    return folder


# Runs each argument in a fork of its own: what takes seconds is importing torch, which they share.
FORK = """
import os, sys, traceback, torch
for number, code in enumerate(sys.argv[1:]):
    if not os.fork():
        with open(f'printed{number}.txt', 'w') as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            try:
                exec(code)
            except BaseException:
                traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(0)
    os.wait()
"""


def run_python(folder: Path, *programs: str) -> list[str]:
    """Return what each program prints in a process that finds packages in ``folder`` first, whether or not it fails."""
    path = os.pathsep.join([str(folder), str(REPO)])
    subprocess.check_call([sys.executable, '-c', FORK, *programs], env=dict(os.environ, PYTHONPATH=path), cwd=folder)
    return [(folder / f'printed{number}.txt').read_text() for number in range(len(programs))]
