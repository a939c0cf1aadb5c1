"""Constructors and wrapping of parameters for optimizers."""

from .layer_decay import LayerDecayOptimWrapperConstructor
from .sharding import wrap_transformer_blocks

__all__ = ['LayerDecayOptimWrapperConstructor', 'wrap_transformer_blocks']
