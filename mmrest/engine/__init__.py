from .cli import make_parser, parse
from .config import build_runner, load_config, prepare_test, prepare_train
from .data import check_data
from .errors import UsageError, clear_errors
from .hooks import CompileBackboneHook, KeepMMCVInFloat32Hook

__all__ = [
    'CompileBackboneHook', 'KeepMMCVInFloat32Hook', 'UsageError', 'build_runner', 'check_data', 'clear_errors',
    'load_config', 'make_parser', 'parse', 'prepare_test', 'prepare_train'
]
