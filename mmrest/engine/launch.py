"""Start of a run: common command-line arguments, process settings, distributed runs on CPUs."""

from __future__ import annotations

import argparse
import atexit
import gc
import os
import sys

import torch
from mmengine.config import Config, ConfigDict

from ..checkpoints import use_safe_loading
from ..utils.cli import ArgumentParser, ConfigOptions
from .devices import find_gpu_problem


def make_parser(description: str) -> argparse.ArgumentParser:
    """Build a parser with the arguments common to training and testing."""
    parser = ArgumentParser(description=description)
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', help='folder for logs and results; default: work_dirs/<config name>')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=ConfigOptions,
        metavar='KEY=VALUE',
        help='override settings of the config, e.g. train_cfg.max_epochs=1 data_root=/data/coco/; lists as key="[a,b]"',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='job launcher of a distributed run',
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    return parser


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the command line and set up the process.

    Sets LOCAL_RANK for mmengine, makes checkpoint loading safe, and restarts the program on the CPU if torch cannot
    use the GPU, since mmengine chooses the device when it is imported.
    """
    args = parser.parse_args()
    use_safe_loading()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    problem = find_gpu_problem()
    if problem:
        print(f'The GPU cannot be used ({problem}): running on the CPU.', flush=True)
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, 'CUDA_VISIBLE_DEVICES': ''})
    return args


def distribute_on_cpus(cfg: Config) -> None:
    """Initialize a distributed run on CPUs; mmengine's own initialization requires GPUs.

    Args:
        cfg (Config): Full config; a model wrapper for CPUs is set.
    """
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group('gloo')
        # Threads of gloo that outlive the interpreter would abort the process.
        atexit.register(destroy_process_group)
    if not cfg.get('model_wrapper_cfg'):
        cfg.model_wrapper_cfg = ConfigDict(
            type='MMDistributedDataParallel',
            find_unused_parameters=cfg.get('find_unused_parameters', False),
            broadcast_buffers=False,
        )
    # mmengine's default is a GPU.
    cfg.model_wrapper_cfg.setdefault('device_ids', None)


def destroy_process_group() -> None:
    """Destroy the process group, if there is one."""
    if torch.distributed.is_initialized():
        gc.collect()  # the model of a runner, which is in reference cycles, holds the group
        torch.distributed.destroy_process_group()
