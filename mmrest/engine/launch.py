"""Start of a run: common command-line arguments, process settings, distributed runs on CPUs."""

from __future__ import annotations

import argparse
import atexit
import gc
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Sequence

import torch
from mmengine.config import Config, ConfigDict

from ..checkpoints import use_safe_loading
from ..utils.cli import ArgumentParser, add_cfg_options, add_config, add_work_dir
from ..utils.resources import relative_to_here, resources
from .devices import find_gpu_problem
from .errors import UsageError


def make_parser(description: str) -> argparse.ArgumentParser:
    """Build a parser with the arguments common to training and testing."""
    parser = ArgumentParser(description=description)
    add_config(parser)
    add_work_dir(parser)
    add_cfg_options(parser)
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='job launcher of a distributed run',
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    return parser


def parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line and set up the process.

    Sets LOCAL_RANK for mmengine, makes checkpoint loading safe, and restarts the program on the CPU if torch cannot
    use the GPU, since mmengine chooses the device when it is imported.
    """
    args = parser.parse_args(argv)
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


def run_tool(tool: str, *args: str | Path) -> None:
    """Run one of the tools in a process of its own, and print the command.

    Args:
        tool (str): File name, e.g. 'train.py'.
        *args: Its arguments; paths are shortened to relative ones where they lie in the current folder.

    Raises:
        UsageError: It failed; its own message is above.
    """
    paths = (resources() / 'tools' / tool, *args)
    command = [str(relative_to_here(arg) if isinstance(arg, Path) else arg) for arg in paths]
    print('\n$ python ' + shlex.join(command), flush=True)
    status = subprocess.run([sys.executable, *command]).returncode
    if status:
        raise UsageError(f'{tool} failed with exit status {status}; see above. The same command goes on from here.')
