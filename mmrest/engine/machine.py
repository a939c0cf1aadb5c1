"""Fitting a config to the processes and devices it is run on, and saying what batch that makes."""
from __future__ import annotations

import glob
import logging
import os
from typing import Any, Iterator

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

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
        print_log('The config trains in mixed precision, which mmengine has on GPUs only: training in full precision.',
                  logger='current', level=logging.WARNING)


def find_gpu_problem() -> str:
    """Return why torch cannot compute on a GPU of this machine; '' where it can, or where there is none to use.

    torch may have no kernels for the architecture, or the driver may be too old. No memory of a GPU is taken.
    """
    if torch.cuda.is_available():
        for device in range(torch.cuda.device_count()):
            major, minor = torch.cuda.get_device_capability(device)
            if not has_kernels(torch.cuda.get_arch_list(), major, minor):
                return (f'torch {torch.__version__} has no kernels for {torch.cuda.get_device_name(device)}, '
                        f'sm_{major}{minor}')
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


class BatchReportHook(Hook):
    """Says before training how large the batch is, and which one the learning rate was made for."""

    def before_train(self, runner: Runner) -> None:
        optimizer = (runner.cfg.get('optim_wrapper') or {}).get('optimizer') or {}
        scaling = runner.cfg.get('auto_scale_lr') or {}
        # Not that of the loader built from it: with a batch sampler it has none.
        batch_size = (runner.cfg.get('train_dataloader') or {}).get('batch_size')
        if 'lr' in optimizer and scaling.get('base_batch_size') and batch_size:
            steps = runner.cfg.optim_wrapper.get('accumulative_counts', 1)
            text, fits = describe_batch(optimizer['lr'], scaling['base_batch_size'], runner.world_size, batch_size,
                                        steps, scaling.get('enable', False))
            runner.logger.log(logging.INFO if fits else logging.WARNING, text)


def describe_batch(lr: float, recipe: int, processes: int, batch_size: int, accumulated: int,
                   scaled: bool) -> tuple[str, bool]:
    """What to say of a run's batch beside its learning rate, and whether the two fit.

    Args:
        lr (float): Learning rate of the config.
        recipe (int): Batch it was made for.
        processes (int): Number of processes.
        batch_size (int): Images in each process.
        accumulated (int): Batches whose gradients are summed before a step.
        scaled (bool): mmengine has scaled the learning rate to ``processes * batch_size``.
    """
    batch = processes * batch_size
    text = f'Batch: {batch * accumulated} images a step ({processes} process{"es" * (processes > 1)} x {batch_size}'
    text += f' images x {accumulated} accumulated batches)' if accumulated > 1 else ' images)'
    text += f'. The learning rate {lr:g} is made for {recipe}'
    if scaled:
        text += f' and was scaled to {lr * batch / recipe:g}'
        # mmengine scales by what is in memory at a time.
        return text + (', leaving accumulation out of account.' if accumulated > 1 else '.'), accumulated == 1
    if batch * accumulated == recipe:
        return text + '.', True
    hint = ' (--auto-scale-lr)' if accumulated == 1 else ''
    return text + f': {lr * batch * accumulated / recipe:g} would fit{hint}.', False
