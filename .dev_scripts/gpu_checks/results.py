"""Settings and files of results, which the processes of the check exchange; reading needs no other module."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

OK, FAILED, SKIPPED, RUNNING = 'ok', 'FAILED', 'skipped', 'running'
DEVICE_LOST = 3  # exit status of a process whose GPU answers no longer
OUT_OF_TIME = 'out of time'


@dataclass(frozen=True)
class Settings:
    """Settings of all parts.

    Attributes:
        device (str): As torch names it.
        dry (bool): Tiny sizes.
        quick (bool): Without ``torch.compile`` and other backbones.
        golden (str, optional): Folder with the values of the published models.
        folder (str): For files that nobody needs later.
    """

    device: str
    dry: bool
    quick: bool
    golden: str | None
    folder: str

    @property
    def on_gpu(self) -> bool:
        """True if the device is a GPU."""
        return self.device.startswith('cuda')


def read_results(path: Path) -> dict:
    """Return what a file of results holds; no results where there is no file."""
    return json.loads(path.read_text(encoding='utf-8')) if path.is_file() else dict(rows=[])


def write_results(path: Path, content: dict) -> None:
    """Write a file of results, whole or not at all."""
    from mmrest.utils.fileio import atomic_write

    atomic_write(path, json.dumps(content, indent=1).encode())
