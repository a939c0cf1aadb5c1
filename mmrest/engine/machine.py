"""Fitting a config to the processes and devices it is run on."""

from __future__ import annotations

import glob
import logging
import os
from typing import Any, Iterator

import torch
from mmengine.config import Config
from mmengine.logging import print_log

from ..doctor_probe import has_kernels

AMP_ONLY = ('loss_scale', 'dtype', 'use_fsdp')


def replace_sync_bn(cfg: Config) -> None:
    """Make SyncBN BN where batches are not spread over GPUs, and say so.

    Alone it computes the same, and between CPUs PyTorch has none.

    Args:
        cfg (Config): With its ``launcher`` set; changed in place.
    """
    has_gpu = torch.cuda.is_available()
    if cfg.get('launcher', 'none') == 'none' or not has_gpu:
        count = 0
        for part in nested_dicts(cfg.get('model')):
            if part.get('type') in ('SyncBN', 'MMSyncBN'):
                part['type'] = 'BN'
                count += 1
        if count:
            why = 'this run is not distributed' if has_gpu else 'there is no GPU'
            print_log(f'SyncBN became BN in {count} places of the model: {why}.', logger='current')


def replace_amp(cfg: Config) -> None:
    """Train in full precision what asks for mixed precision where there is no GPU, and say so; changes ``cfg``."""
    wrapper = cfg.get('optim_wrapper') or {}
    if wrapper.get('type') == 'AmpOptimWrapper' and not torch.cuda.is_available():
        wrapper['type'] = 'OptimWrapper'
        for key in AMP_ONLY:
            wrapper.pop(key, None)
        print_log(
            'The config trains in mixed precision, which mmengine has on GPUs only: training in full precision.',
            logger='current',
            level=logging.WARNING,
        )


def find_gpu_problem() -> str:
    """Return why torch cannot compute on a GPU of this machine; '' where it can, or where there is none to use.

    torch may have no kernels for the architecture, or the driver may be too old. No memory of a GPU is taken.
    """
    if torch.cuda.is_available():
        for device in range(torch.cuda.device_count()):
            major, minor = torch.cuda.get_device_capability(device)
            if not has_kernels(torch.cuda.get_arch_list(), major, minor):
                return (
                    f'torch {torch.__version__} has no kernels for {torch.cuda.get_device_name(device)}, '
                    f'sm_{major}{minor}'
                )
    elif torch.version.cuda and glob.glob('/dev/nvidia[0-9]*') and os.environ.get('CUDA_VISIBLE_DEVICES') != '':
        try:
            torch.cuda.init()  # says why there is none
        except (RuntimeError, AssertionError) as error:
            return str(error).strip().splitlines()[0]
    return ''


def nested_dicts(value: Any) -> Iterator[dict]:
    """All dicts in a nest of dicts and lists, the outermost first."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for one in value:
            yield from nested_dicts(one)
