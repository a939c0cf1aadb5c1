from .attention import EMSA, MSA, REDUCTIONS, EMSAv2, HeadAttention
from .block import FFN, DropPath, TransformerBlock
from .convolution import ConvSequential
from .embed import STEMS, PatchEmbed, PatchEmbedV2, PVTStem, ResNetStem, Stem, StemV2
from .position import POSITIONS, GroupLinear, LearnableEmbedding, PixelAttention, build_position
from .tokens import as_channels_last, to_map, to_tokens
from .window import CrossWindowConv, windowed

__all__ = [
    'EMSA', 'FFN', 'MSA', 'POSITIONS', 'REDUCTIONS', 'STEMS', 'ConvSequential', 'CrossWindowConv', 'DropPath', 'EMSAv2',
    'GroupLinear', 'HeadAttention', 'LearnableEmbedding', 'PVTStem', 'PatchEmbed', 'PatchEmbedV2', 'PixelAttention',
    'ResNetStem', 'Stem', 'StemV2', 'TransformerBlock', 'as_channels_last', 'build_position', 'to_map', 'to_tokens',
    'windowed'
]
