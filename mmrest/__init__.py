"""mmrest: ResT and ResTv2 backbones for OpenMMLab. Importing it registers them in mmengine's root registries."""
from pathlib import Path

try:
    from .backbones import ResT, ResTv2
    from .checkpoints import allow_known_types
    from .hooks import CompileBackboneHook, InvalidLossHook, KeepMMCVInFloat32Hook
    from .optim import LayerDecayOptimWrapperConstructor
except ModuleNotFoundError as error:
    if error.name not in ('torch', 'mmengine'):
        raise
    command = 'torch' if error.name == 'torch' else '"mmengine>=0.10,<1" "setuptools<82"'
    raise ImportError(f'mmrest needs torch and mmengine, and {error.name} is not installed: python -m pip install '
                      f'{command}. For all that is missing, run: python {Path(__file__).with_name("doctor.py")}'
                      ) from error
from .installed import get_config_path, list_configs
from .mmcv_ops import add_finder
from .version import __version__

# Lets torch's own safe loading accept what checkpoints of mmengine and of the ResT authors hold
# beside tensors, so that files also load where another project's tool opens them.
allow_known_types()
# Lets mmcv be imported without its compiled operators; nothing is loaded before that.
add_finder()

__all__ = [
    'CompileBackboneHook', 'InvalidLossHook', 'KeepMMCVInFloat32Hook', 'LayerDecayOptimWrapperConstructor', 'ResT',
    'ResTv2', '__version__', 'get_config_path', 'list_configs'
]
