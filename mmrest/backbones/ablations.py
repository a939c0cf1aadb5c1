"""ResT and ResTv2 with the options of the papers' ablations. The defaults build the published models."""

from __future__ import annotations

from mmengine.registry import MODELS
from torch import nn

from ..layers.variants import (
    HEAD_INTERACTIONS,
    POSITIONS,
    REDUCTIONS,
    STEMS,
    EMSAv2Variant,
    EMSAVariant,
    build_position,
    check_choice,
)
from .rest import ResT
from .restv2 import ResTv2

ATTENTIONS = ('emsa', 'msa')
# 'le' needs an image size, which ResTv2 does not define.
POSITIONS_V2 = tuple(name for name in POSITIONS if name != 'le')


@MODELS.register_module()
class ResTAblation(ResT):
    """ResT with the options of Tables 5 to 9 of the paper (arXiv 2105.13677).

    Args:
        stem (str): 'rest' (default), three convolutions; 'resnet', the ResNet stem, which gives the parameters and
            MACs reported in the paper; 'pvt', 4x4 patches.
        attention (str): 'emsa' (default), or 'msa': no spatial reduction and no head interaction.
        reduction (str): Spatial reduction of keys and values, 'dwconv' (default), 'avgpool' or 'maxpool'.
        head_interaction (str): 'conv+in' (default), 1x1 convolution across heads before the softmax and InstanceNorm
            after it; 'conv', without the norm; 'none', without both.
        position (str): Position encoding, 'pa' (default); 'gl' as in the text of the paper (pointwise), 'gl_dw' as in
            the authors' code (depthwise 3x3); 'le', a learnable embedding; or 'none'.
        pretrain_img_size (int): Image size in pixels that 'le' is built for; it is interpolated to others.
            Default: 224.
        args, kwargs: Arguments of :class:`~mmrest.backbones.ResT`.

    Raises:
        ValueError: An argument is unknown or out of its range.
    """

    def __init__(
        self,
        *args,
        stem: str = 'rest',
        attention: str = 'emsa',
        reduction: str = 'dwconv',
        head_interaction: str = 'conv+in',
        position: str = 'pa',
        pretrain_img_size: int = 224,
        **kwargs,
    ) -> None:
        check_choice('stem', stem, STEMS)
        check_choice('attention', attention, ATTENTIONS)
        check_choice('reduction', reduction, REDUCTIONS)
        check_choice('head_interaction', head_interaction, HEAD_INTERACTIONS)
        check_choice('position encoding', position, POSITIONS)
        if attention == 'msa' and (reduction, head_interaction) != ('dwconv', 'conv+in'):
            raise ValueError(
                "attention='msa' has no spatial reduction and no head interaction: leave reduction and "
                'head_interaction at their defaults.'
            )
        if not isinstance(pretrain_img_size, int) or pretrain_img_size < 1:
            raise ValueError(f'pretrain_img_size must be a positive int, got {pretrain_img_size!r}.')
        self.stem_type = stem
        self.attention = attention
        self.reduction = reduction
        self.head_interaction = head_interaction
        self.position = position
        self.pretrain_img_size = pretrain_img_size
        super().__init__(*args, **kwargs)

    def build_embed(self, i: int) -> nn.Module:
        embed = STEMS[self.stem_type](self.in_channels, self.embed_dims[0]) if i == 0 else super().build_embed(i)
        if self.position != 'pa':
            grid_size = -(-self.pretrain_img_size // 2 ** (i + 2))
            embed.pos = build_position(self.position, self.embed_dims[i], grid_size)
        return embed

    def build_attention(self, i: int, j: int) -> nn.Module:
        kwargs = self.attention_kwargs(i)
        if self.attention == 'msa':
            return EMSAVariant(**{**kwargs, 'sr_ratio': 1}, head_interaction='none')
        return EMSAVariant(**kwargs, reduction=self.reduction, head_interaction=self.head_interaction)


@MODELS.register_module()
class ResTv2Ablation(ResTv2):
    """ResTv2 with the options compared in the paper (arXiv 2204.07366).

    Args:
        upsample_target (str): Input of the upsample branch: 'v' (default), 'k', 'q', 'x', or 'none' for no branch;
            see :class:`~mmrest.layers.variants.UpsampleVariant`.
        upsample_strategy (str): 'pixel_shuffle' (default), 'nearest' or 'bilinear'.
        head_mixing (bool): Head interaction with InstanceNorm, as in ResT; according to the paper it helps with at
            most 64 channels per head. Default: False.
        position (str): Position encoding, 'pa' (default), 'gl', 'gl_dw' or 'none', as in :class:`ResTAblation`.
        args, kwargs: Arguments of :class:`~mmrest.backbones.ResTv2`.

    Raises:
        ValueError: An argument is unknown or out of its range.
    """

    def __init__(
        self,
        *args,
        upsample_target: str = 'v',
        upsample_strategy: str = 'pixel_shuffle',
        head_mixing: bool = False,
        position: str = 'pa',
        **kwargs,
    ) -> None:
        check_choice('position', position, POSITIONS_V2)
        self.upsample_target = upsample_target
        self.upsample_strategy = upsample_strategy
        self.head_mixing = head_mixing
        self.position = position
        super().__init__(*args, **kwargs)

    def build_embed(self, i: int) -> nn.Module:
        embed = super().build_embed(i)
        if self.position != 'pa':
            embed.pos = build_position(self.position, self.embed_dims[i])
        return embed

    def build_attention(self, i: int, j: int) -> nn.Module:
        return EMSAv2Variant(
            **self.attention_kwargs(i),
            upsample_target=self.upsample_target,
            upsample_strategy=self.upsample_strategy,
            head_mixing=self.head_mixing,
            window_size=self.window_size(i, j),
        )
