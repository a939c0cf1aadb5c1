"""Start of a run: the command line that training and testing share, the process, the processes of a distributed run."""

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
from .errors import UsageError
from .machine import find_gpu_problem


def make_parser(description: str) -> argparse.ArgumentParser:
    """A parser with the arguments that every run takes."""
    parser = ArgumentParser(description=description)
    add_config(parser)
    add_work_dir(parser)
    add_cfg_options(parser)
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='what started this process, for distributed runs',
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    return parser


def parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line and set up the process.

    The rank of launchers that give it as an argument is handed on to mmengine, and no checkpoint can run code.
    Where torch cannot use the GPU, say so and start once more without it: mmengine chose the device as it was
    imported.
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
    """Join the processes of a run without GPUs; mmengine's own start needs one whatever the backend."""
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group('gloo')
        # Left to the end of the process, gloo's threads may be running still when Python is gone, which aborts it.
        atexit.register(leave_group)
    if not cfg.get('model_wrapper_cfg'):
        cfg.model_wrapper_cfg = ConfigDict(
            type='MMDistributedDataParallel',
            find_unused_parameters=cfg.get('find_unused_parameters', False),
            broadcast_buffers=False,
        )
    # mmengine would name a GPU; on CPUs there must be none.
    cfg.model_wrapper_cfg.setdefault('device_ids', None)


def leave_group() -> None:
    """Leave the group of processes, if there is one."""
    if torch.distributed.is_initialized():
        gc.collect()  # a runner is full of cycles, and the model in it holds the group
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
