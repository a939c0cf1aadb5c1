from .config import load_config, prepare_test, prepare_train
from .data import base_datasets, check_data
from .errors import RunFinished, UsageError, clear_errors
from .launch import make_parser, parse
from .paths import check_target
from .runner import build_runner

__all__ = [
    'RunFinished', 'UsageError', 'base_datasets', 'build_runner', 'check_data', 'check_target', 'clear_errors',
    'load_config', 'make_parser', 'parse', 'prepare_test', 'prepare_train'
]
