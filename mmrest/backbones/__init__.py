from .pyramid import PyramidBackbone
from .rest import ResT
from .restv2 import ResTv2

__all__ = ['PyramidBackbone', 'ResT', 'ResTv2']
