"""Layers of ResT and ResTv2."""

from .attention import EMSA, EMSAv2, HeadAttention, WindowEMSAv2
from .block import FFN, DropPath, TransformerBlock
from .embed import PatchEmbed, PatchEmbedV2, Stem, StemV2
from .position import PixelAttention
from .sequential import LayerSequence
from .tokens import to_map, to_tokens
from .window import CrossWindowConv, attend_in_windows

__all__ = [
    'EMSA',
    'FFN',
    'CrossWindowConv',
    'DropPath',
    'EMSAv2',
    'HeadAttention',
    'LayerSequence',
    'PatchEmbed',
    'PatchEmbedV2',
    'PixelAttention',
    'Stem',
    'StemV2',
    'TransformerBlock',
    'WindowEMSAv2',
    'attend_in_windows',
    'to_map',
    'to_tokens',
]
