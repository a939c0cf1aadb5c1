"""Adaptation of a config to the processes and devices of a run."""

from __future__ import annotations

import glob
import logging
import os
from typing import Any, Iterator

import torch
from mmengine.config import Config
from mmengine.logging import print_log

from ..doctor_probe import has_kernels
from .errors import UsageError

AMP_KEYS = ('loss_scale', 'dtype', 'use_fsdp')


def replace_sync_bn(cfg: Config) -> None:
    """Replace SyncBN by BN in runs that are not distributed or on CPUs, where PyTorch has no SyncBN.

    Args:
        cfg (Config): Full config with ``launcher``; changed in place.
    """
    has_gpu = torch.cuda.is_available()
    if cfg.get('launcher', 'none') == 'none' or not has_gpu:
        count = 0
        for part in nested_dicts(cfg.get('model')):
            if part.get('type') in ('SyncBN', 'MMSyncBN'):
                part['type'] = 'BN'
                count += 1
        if count:
            reason = 'this run is not distributed' if has_gpu else 'there is no GPU'
            print_log(f'Replaced SyncBN by BN in {count} places of the model: {reason}.', logger='current')


def replace_amp(cfg: Config) -> None:
    """Replace mixed by full precision in a config, in place, if there is no GPU."""
    wrapper = cfg.get('optim_wrapper') or {}
    if wrapper.get('type') == 'AmpOptimWrapper' and not torch.cuda.is_available():
        wrapper['type'] = 'OptimWrapper'
        for key in AMP_KEYS:
            wrapper.pop(key, None)
        print_log(
            'The config trains in mixed precision on GPUs; without one it trains in full precision, or with --amp in '
            'bfloat16.',
            logger='current',
            level=logging.WARNING,
        )


def use_amp(cfg: Config) -> None:
    """Switch the optimizer wrapper of a config to mixed precision, in place: float16 on a GPU, bfloat16 on a CPU.

    Raises:
        UsageError: The config asks for another dtype on a CPU.
    """
    wrapper = cfg.optim_wrapper
    if torch.cuda.is_available():
        wrapper.type = 'AmpOptimWrapper'
        wrapper.loss_scale = wrapper.get('loss_scale', 'dynamic')
        return
    if wrapper.get('dtype', 'bfloat16') not in ('bfloat16', torch.bfloat16):
        raise UsageError(
            f'--amp on a CPU is in bfloat16, but the config has optim_wrapper.dtype = {wrapper.dtype!r}: remove it, or '
            'train on a GPU.'
        )
    wrapper.type = 'CPUAmpOptimWrapper'
    for key in AMP_KEYS:
        wrapper.pop(key, None)


def computes_in_bfloat16(cfg: Config, train: bool) -> bool:
    """Tell whether a run has steps under bfloat16 autocast: by its optimizer, or by its loops on a CPU.

    Args:
        cfg (Config): Full config.
        train (bool): The run trains; otherwise it tests.
    """
    wrapper = cfg.get('optim_wrapper') or {}
    if train and (wrapper.get('dtype') == 'bfloat16' or wrapper.get('type') == 'CPUAmpOptimWrapper'):
        return True
    loop = cfg.get('val_cfg' if train else 'test_cfg') or {}
    return bool(loop.get('fp16')) and not torch.cuda.is_available()


def find_gpu_problem() -> str:
    """Return the reason why torch cannot use the GPU of this machine; empty if it can, or if there is none.

    torch may lack kernels for the architecture, or the driver may be too old. No GPU memory is allocated.
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
            torch.cuda.init()  # raises with the reason
        except (RuntimeError, AssertionError) as error:
            return str(error).strip().splitlines()[0]
    return ''


def nested_dicts(value: Any) -> Iterator[dict]:
    """Yield all dicts in nested dicts and lists, outermost first."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for one in value:
            yield from nested_dicts(one)
