"""Process that runs the cases of one part: ``python -m gpu_checks.worker JOB``, with the job as JSON."""

from __future__ import annotations

import importlib
import json
import os
import platform
import sys
from importlib import metadata
from pathlib import Path

import torch

import mmrest  # noqa: F401  (before mmcv, which it lends its operators)

from .cases import run_cases
from .results import Settings


def describe(device: str) -> dict:
    """Return what the figures depend on: the device and the versions of what runs on it."""
    found = dict(device=device, python=platform.python_version(), torch=torch.__version__, cuda=torch.version.cuda)
    for name in ('triton', 'torchvision', 'numpy', 'mmengine', 'mmcv-lite', 'mmdet', 'mmsegmentation', 'mmpretrain'):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = 'not installed'
    if device.startswith('cuda'):
        properties = torch.cuda.get_device_properties(device)
        found.update(
            name=properties.name,
            capability=f'{properties.major}.{properties.minor}',
            memory_gb=properties.total_memory / 1e9,
            multiprocessors=properties.multi_processor_count,
            cudnn=torch.backends.cudnn.version(),
        )
    else:
        found.update(name=platform.processor() or platform.machine(), threads=torch.get_num_threads())
    return found


def main() -> int:
    """Run a part's cases and return the exit status."""
    job = json.loads(sys.argv[1])
    settings, path = Settings(**job['settings']), Path(job['path'])
    if settings.on_gpu:
        torch.cuda.set_device(settings.device)
    more = dict(machine=describe(settings.device)) if job['describe'] else {}
    cases = importlib.import_module(job['module']).cases(settings)
    return run_cases(cases, path, job['deadline'], settings.device, **more)


if __name__ == '__main__':
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # a GPU that does not answer would keep the process from ending
