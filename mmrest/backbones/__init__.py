"""ResT and ResTv2 backbones, and their variants for ablations."""

from .ablations import ResTAblation, ResTv2Ablation
from .pyramid import PyramidBackbone
from .rest import ResT
from .restv2 import ResTv2

__all__ = ['PyramidBackbone', 'ResT', 'ResTAblation', 'ResTv2', 'ResTv2Ablation']
