"""What the command lines of training and testing have in common."""
from __future__ import annotations

import argparse
import os
import sys

from ..utils.cli import ArgumentParser, ConfigOptions
from .machine import find_gpu_problem


def make_parser(description: str) -> argparse.ArgumentParser:
    """A parser with the arguments that every run takes."""
    parser = ArgumentParser(description=description)
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', help='folder for logs and results; default: work_dirs/<config name>')
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions, metavar='KEY=VALUE',
                        help='override settings of the config, e.g. train_cfg.max_epochs=1 '
                        'data_root=/data/coco/; lists as key="[a,b]"')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none',
                        help='what started this process, for distributed runs')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    return parser


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the command line; hand the rank of launchers that give it as an argument on to mmengine.

    Where torch cannot use the GPU, say so and start once more without it: mmengine chose the device as it was
    imported.
    """
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    problem = find_gpu_problem()
    if problem:
        print(f'The GPU cannot be used ({problem}): running on the CPU.', flush=True)
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, 'CUDA_VISIBLE_DEVICES': ''})
    return args
