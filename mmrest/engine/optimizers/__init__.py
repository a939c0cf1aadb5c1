"""Constructors and wrapping of parameters for optimizers."""

from .cpu_amp import CPUAmpOptimWrapper
from .layer_decay import LayerDecayOptimWrapperConstructor
from .sharding import wrap_transformer_blocks

__all__ = ['CPUAmpOptimWrapper', 'LayerDecayOptimWrapperConstructor', 'wrap_transformer_blocks']
