"""Names and versions of what a result was computed with."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import torch

LIBRARIES = ('torch', 'torchvision', 'mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmpretrain', 'numpy', 'cv2')


def processor_name() -> str:
    """Return the name of the CPU, e.g. 'AMD EPYC 9B45'; of unknown ones, the kind of machine."""
    try:
        lines = Path('/proc/cpuinfo').read_text(errors='replace').splitlines()
    except OSError:
        lines = []
    names = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    return next(filter(None, names), platform.processor() or platform.machine())


def device_name(device: torch.device) -> str:
    """Return the name of a GPU, or that of the CPU with the number of threads that torch uses."""
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    name = f'{processor_name()}, {threads} thread{"s" * (threads > 1)}'
    return name if device.type == 'cpu' else f'{device.type} of {name}'


def versions() -> dict[str, str]:
    """Return the versions of Python, mmrest and the libraries that this process has imported."""
    from ..version import __version__

    found = dict(Python=platform.python_version(), mmrest=__version__)
    for name in LIBRARIES:
        version = getattr(sys.modules.get(name), '__version__', None)
        if version:
            found[name] = str(version)
    return found
