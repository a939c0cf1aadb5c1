from .attention import EMSA
from .block import FFN, DropPath, TransformerBlock
from .embed import BatchNorm2d, PatchEmbed, Stem
from .position import PixelAttention

__all__ = ['EMSA', 'FFN', 'BatchNorm2d', 'DropPath', 'PatchEmbed', 'PixelAttention', 'Stem', 'TransformerBlock']
