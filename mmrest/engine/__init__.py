"""Configs and runs: loading, checks, the runner, resuming and the command line of a run."""

from .config import load_config, prepare_test, prepare_train
from .data import base_datasets, check_data
from .errors import RunFinished, UsageError, exit_on_user_error
from .launch import make_parser, parse, run_tool
from .paths import check_target
from .runner import build_runner

__all__ = [
    'RunFinished',
    'UsageError',
    'base_datasets',
    'build_runner',
    'check_data',
    'check_target',
    'exit_on_user_error',
    'load_config',
    'make_parser',
    'parse',
    'prepare_test',
    'prepare_train',
    'run_tool',
]
