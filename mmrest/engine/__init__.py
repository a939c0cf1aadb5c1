from .cli import make_parser, parse
from .config import build_runner, load_config, prepare_test, prepare_train
from .data import base_datasets, check_data
from .errors import RunFinished, UsageError, clear_errors
from .paths import check_target

__all__ = [
    'RunFinished', 'UsageError', 'base_datasets', 'build_runner', 'check_data', 'check_target', 'clear_errors',
    'load_config', 'make_parser', 'parse', 'prepare_test', 'prepare_train'
]
