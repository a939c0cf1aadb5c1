"""ResT: An Efficient Transformer for Visual Recognition (NeurIPS 2021, arXiv 2105.13677)."""

from __future__ import annotations

from typing import Sequence

from mmengine.registry import MODELS
from torch import nn

from ..layers import EMSA, PatchEmbed, Stem
from .pyramid import PyramidBackbone, resolve_arch

ARCHS = {
    'lite': dict(embed_dims=(64, 128, 256, 512), depths=(2, 2, 2, 2), num_heads=(1, 2, 4, 8), sr_ratios=(8, 4, 2, 1)),
    'small': dict(embed_dims=(64, 128, 256, 512), depths=(2, 2, 6, 2), num_heads=(1, 2, 4, 8), sr_ratios=(8, 4, 2, 1)),
    'base': dict(embed_dims=(96, 192, 384, 768), depths=(2, 2, 6, 2), num_heads=(1, 2, 4, 8), sr_ratios=(8, 4, 2, 1)),
    'large': dict(embed_dims=(96, 192, 384, 768), depths=(2, 2, 18, 2), num_heads=(1, 2, 4, 8), sr_ratios=(8, 4, 2, 1)),
}


@MODELS.register_module()
class ResT(PyramidBackbone):
    """ResT backbone: an image of any size to a pyramid of strides 4, 8, 16, 32.

    The InstanceNorm in its attention averages over whole maps, so the features of an image depend
    on all of it, and on the padding it gets in a batch.

    This is the published model; what the ablations of the paper vary is in
    :class:`~mmrest.backbones.ablations.ResTAblation`.

    Args:
        arch (str | dict): 'lite', 'small', 'base', 'large', or a dict of ``embed_dims``, ``depths``,
            ``num_heads`` and ``sr_ratios`` with one int per stage. Default: 'small'.
        in_channels (int): Channels of the image. Default: 3.
        out_indices (int | Sequence[int]): Stages to emit, 0-based and ascending; stages after the
            last are not built. Default: (0, 1, 2, 3).
        out_norm (str): LayerNorm of emitted maps. 'branch' (default): on the way out only. 'trunk':
            the next stage is fed the normalized map as well, as in the authors' published detectors.
            'none': without, as in Table 10 of the paper.
        mlp_ratio (float): Hidden channels of the FFN in multiples of its input's. Default: 4.
        drop_rate (float): Dropout after linear layers. Default: 0.
        attn_drop_rate (float): Dropout of attention maps. Default: 0.
        drop_path_rate (float): Stochastic depth of the last block, rising linearly from 0. Default: 0.
        frozen_stages (int): -1 (default): nothing; 0: the stem; k: the stem and the first k stages.
        norm_eval (bool): Keep BatchNorm statistics fixed in training. Default: False.
        with_cp (bool): Recompute blocks in the backward pass: less memory, more time. Default: False.
        ffn_recompute (bool): Recompute only the FFN of each block, which holds most of a block's memory and is cheap
            to recompute. With ``with_cp``, the least memory. Default: False.
        attn_impl (str, optional): Implementation of the attention: 'auto' chooses by size; 'reference', 'direct',
            'chunked' and 'triton' ask for one, see :func:`mmrest.ops.emsa`. Default: the value of the environment
            variable MMREST_ATTN_IMPL when the model is built, else 'auto'.
        init_cfg (dict | list, optional): ``dict(type='Pretrained', checkpoint=path)`` loads published
            files as they are, or own ones.

    Attributes:
        out_channels (tuple[int]): Channels of each emitted map.
        out_strides (tuple[int]): Stride of each emitted map.

    Raises:
        ValueError: An argument is unknown or out of its range.

    Examples:
        >>> model = ResT('lite').eval()
        >>> [tuple(out.shape) for out in model(torch.rand(1, 3, 97, 64))]
        [(1, 64, 25, 16), (1, 128, 13, 8), (1, 256, 7, 4), (1, 512, 4, 2)]
    """

    def __init__(
        self,
        arch: str | dict = 'small',
        in_channels: int = 3,
        out_indices: int | Sequence[int] = (0, 1, 2, 3),
        out_norm: str = 'branch',
        mlp_ratio: float = 4.0,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        ffn_recompute: bool = False,
        attn_impl: str | None = None,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(
            resolve_arch(arch, ARCHS),
            in_channels,
            out_indices,
            out_norm,
            mlp_ratio,
            drop_rate,
            attn_drop_rate,
            drop_path_rate,
            frozen_stages,
            norm_eval,
            with_cp,
            ffn_recompute,
            attn_impl,
            init_cfg,
        )

    def norm_layer(self, channels: int) -> nn.LayerNorm:
        return nn.LayerNorm(channels, eps=1e-5)

    def build_embed(self, i: int) -> nn.Module:
        if i == 0:
            return Stem(self.in_channels, self.embed_dims[0])
        return PatchEmbed(self.embed_dims[i - 1], self.embed_dims[i])

    def build_attention(self, i: int, j: int) -> nn.Module:
        return EMSA(**self.attention_settings(i))

    def name_published_norms(self) -> dict[str, str]:
        return {'norm': f'norm{len(self.depths)}'}
