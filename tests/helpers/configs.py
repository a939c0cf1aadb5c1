"""Config files of tests."""

from __future__ import annotations

from pathlib import Path

from conftest import REPO

DEMO = str(REPO / 'configs/retinanet_rest_lite_fpn_shapes.py')


def write(path: Path, text: str) -> str:
    """Write a file, and return its path as a user would type it."""
    path.write_text(text)
    return str(path)
