from .pyramid import PyramidBackbone
from .rest import ResT

__all__ = ['PyramidBackbone', 'ResT']
