from .attention import EMSA, EMSAv2, HeadAttention
from .block import FFN, DropPath, TransformerBlock
from .embed import BatchNorm2d, PatchEmbed, PatchEmbedV2, Stem, StemV2
from .position import PixelAttention, build_position
from .tokens import to_map, to_tokens
from .window import CrossWindowConv, windowed

__all__ = [
    'EMSA', 'FFN', 'BatchNorm2d', 'CrossWindowConv', 'DropPath', 'EMSAv2', 'HeadAttention', 'PatchEmbed',
    'PatchEmbedV2', 'PixelAttention', 'Stem', 'StemV2', 'TransformerBlock', 'build_position', 'to_map', 'to_tokens',
    'windowed'
]
