"""Processes that import mmcv's operators from a given folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from conftest import REPO

# Prints where the operators come from, and uses one.
USE_OPERATORS = (
    'import mmcv._ext; print(getattr(mmcv._ext, "PROVIDER", "compiled")); from mmcv.ops import nms; import torch; '
    'print(nms(torch.tensor([[0., 0., 2., 2.]]), torch.ones(1), 0.5)[1].tolist())'
)


def run_python(folder: Path, code: str) -> str:
    """Return what code prints in a process that finds packages in ``folder`` first, whether or not it fails."""
    return subprocess.run(
        [sys.executable, '-c', code],
        text=True,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join([str(folder), str(REPO)])),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ).stdout
