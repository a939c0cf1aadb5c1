"""ResT and ResTv2 backbones for OpenMMLab, registered in mmengine's root registries on import."""

from pathlib import Path

try:
    from .backbones import ResT, ResTAblation, ResTv2, ResTv2Ablation
    from .checkpoints import register_safe_loaders
    from .engine.hooks import CompileBackboneHook, InvalidLossHook, KeepMMCVInFloat32Hook
    from .engine.optimizers import LayerDecayOptimWrapperConstructor
    from .utils.upstream import locate_libraries
except ModuleNotFoundError as error:
    if error.name not in ('torch', 'mmengine'):
        raise
    command = 'torch' if error.name == 'torch' else '"mmengine>=0.10,<1" "setuptools<82"'
    raise ImportError(
        f'mmrest needs torch and mmengine, and {error.name} is not installed: python -m pip install '
        f'{command}. For all that is missing, run: python {Path(__file__).with_name("doctor.py")}'
    ) from error
from .mmcv_ops import add_finder
from .utils.resources import get_config_path, list_configs
from .version import __version__

# mmengine loads checkpoints without running code from them, also in other projects' tools.
register_safe_loaders()
# Config.fromfile() resolves 'mmseg::...' for forks and source checkouts.
locate_libraries()
# mmcv can be imported without its compiled extension. Nothing is loaded until then.
add_finder()

__all__ = [
    'CompileBackboneHook',
    'InvalidLossHook',
    'KeepMMCVInFloat32Hook',
    'LayerDecayOptimWrapperConstructor',
    'ResT',
    'ResTAblation',
    'ResTv2',
    'ResTv2Ablation',
    '__version__',
    'get_config_path',
    'list_configs',
]
