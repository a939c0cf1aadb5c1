from .attention import EMSA, MSA, REDUCTIONS, EMSAv2, HeadAttention
from .block import FFN, DropPath, TransformerBlock
from .embed import STEMS, BatchNorm2d, PatchEmbed, PatchEmbedV2, PVTStem, ResNetStem, Stem, StemV2
from .inference import ConvNorms, conv_norm, in_inference
from .linear import TokenLinear
from .position import POSITIONS, GroupLinear, LearnableEmbedding, PixelAttention, build_position
from .tokens import as_channels_last, to_map, to_tokens
from .window import CrossWindowConv, windowed

__all__ = [
    'EMSA', 'FFN', 'MSA', 'POSITIONS', 'REDUCTIONS', 'STEMS', 'BatchNorm2d', 'ConvNorms', 'CrossWindowConv',
    'DropPath', 'EMSAv2', 'GroupLinear', 'HeadAttention', 'LearnableEmbedding', 'PVTStem', 'PatchEmbed',
    'PatchEmbedV2', 'PixelAttention', 'ResNetStem', 'Stem', 'StemV2', 'TokenLinear', 'TransformerBlock',
    'as_channels_last', 'build_position', 'conv_norm', 'in_inference', 'to_map', 'to_tokens', 'windowed'
]
