"""ResT V2: Simpler, Faster and Stronger (NeurIPS 2022, arXiv 2204.07366)."""
from __future__ import annotations

from functools import partial
from typing import Sequence

from mmengine.registry import MODELS
from torch import nn

from ..layers import POSITIONS, CrossWindowConv, EMSAv2, PatchEmbedV2, StemV2, TransformerBlock
from .pyramid import PyramidBackbone, check_settings, resolve_arch

ARCHS = {
    'tiny': dict(embed_dims=(96, 192, 384, 768), depths=(1, 2, 6, 2), num_heads=(1, 2, 4, 8), sr_ratios=(8, 4, 2, 1)),
    'small': dict(embed_dims=(96, 192, 384, 768), depths=(1, 2, 12, 2), num_heads=(1, 2, 4, 8), sr_ratios=(8, 4, 2, 1)),
    'base': dict(embed_dims=(96, 192, 384, 768), depths=(1, 3, 16, 3), num_heads=(1, 2, 4, 8), sr_ratios=(8, 4, 2, 1)),
    'large': dict(
        embed_dims=(128, 256, 512, 1024), depths=(2, 3, 16, 2), num_heads=(2, 4, 8, 16), sr_ratios=(8, 4, 2, 1)),
}
STYLES = ('global', 'win', 'cwin', 'hwin')
# Nothing here says what size of map 'le' would be made for.
OWN_POSITIONS = tuple(name for name in POSITIONS if name != 'le')


@MODELS.register_module(name=['ResTv2', 'ResTV2'])
class ResTv2(PyramidBackbone):
    """ResTv2 backbone: an image of any size to a pyramid of strides 4, 8, 16, 32.

    The fine-tuning styles confine attention, its reduction of keys and values and its upsample
    branch to windows. All styles have the parameters of the published files and load them; 'cwin'
    adds convolutions that start at zero. The paper describes the styles without code; what it leaves
    open is decided so: a map is cut from its upper left corner and windows at the right and lower
    border are as small as what is left, without padding; convolutions inside a window see zeros
    around it; 'hwin' ends every emitted stage with a global block.

    Args:
        arch (str | dict): 'tiny', 'small', 'base', 'large', or a dict of ``embed_dims``, ``depths``,
            ``num_heads`` and ``sr_ratios`` with one int per stage. Default: 'tiny'.
        in_channels (int): Channels of the image. Default: 3.
        style (str): 'global' (default): attention sees the whole map. 'win': every block works
            inside windows. 'cwin': as 'win', and a residual 7x7 depthwise convolution after the last
            block of each stage lets windows communicate. 'hwin': as 'win', but the last block of
            the stages in ``hwin_global_stages`` is global.
        window_sizes (Sequence[int]): Side of a stage's windows in tokens. Default: (64, 32, 16, 8),
            which leaves 8 x 8 keys to a window in every stage.
        hwin_global_stages (Sequence[int], optional): Stages, 0-based, that end with a global block.
            Default: those in ``out_indices``.
        out_indices (int | Sequence[int]): Stages to emit, 0-based and ascending; stages after the
            last are not built. Default: (0, 1, 2, 3).
        out_norm (str): LayerNorm of emitted maps. 'branch' (default): on the way out only. 'trunk':
            the next stage is fed the normalised map as well. 'none': without.
        upsample_target (str): What the upsample branch starts from: 'v' (default), 'k', 'q', 'x', or
            'none' for no branch; see :class:`~mmrest.layers.EMSAv2`.
        upsample_strategy (str): 'pixel_shuffle' (default), 'nearest' or 'bilinear'.
        head_mixing (bool): Interaction of heads with InstanceNorm as in ResT. Default: False.
        position (str): Position encoding, 'pa' (default), 'gl', 'gl_dw' or 'none', as in ResT.
        mlp_ratio (float): Hidden channels of the FFN in multiples of its input's. Default: 4.
        drop_rate (float): Dropout after linear layers. Default: 0.
        attn_drop_rate (float): Dropout of attention maps. Default: 0.
        drop_path_rate (float): Stochastic depth of the last block, rising linearly from 0. Default: 0.
        frozen_stages (int): -1 (default): nothing; 0: the stem; k: the stem and the first k stages.
        norm_eval (bool): Keep BatchNorm statistics fixed in training. Default: False.
        with_cp (bool): Trade time for memory by recomputing blocks in the backward pass. Default: False.
        ffn_recompute (bool): The same for the FFN of each block alone, which holds most of a block's
            memory and is cheap to recompute; with ``with_cp``, the least memory. Default: False.
        attn_impl (str): Implementation of the attention: 'auto' (default) chooses by size, 'reference',
            'direct' or 'chunked' force one, see :func:`mmrest.ops.emsa`. The environment variable
            MMREST_ATTN_IMPL, where set when the model is built, takes its place.
        init_cfg (dict | list, optional): ``dict(type='Pretrained', checkpoint=path)`` loads published
            files as they are, or own ones.

    Attributes:
        out_channels (tuple[int]): Channels of each emitted map.
        out_strides (tuple[int]): Stride of each emitted map.

    Raises:
        ValueError: An argument is unknown or out of its range.
    """

    def __init__(self,
                 arch: str | dict = 'tiny',
                 in_channels: int = 3,
                 style: str = 'global',
                 window_sizes: Sequence[int] = (64, 32, 16, 8),
                 hwin_global_stages: Sequence[int] | None = None,
                 out_indices: int | Sequence[int] = (0, 1, 2, 3),
                 out_norm: str = 'branch',
                 upsample_target: str = 'v',
                 upsample_strategy: str = 'pixel_shuffle',
                 head_mixing: bool = False,
                 position: str = 'pa',
                 mlp_ratio: float = 4.0,
                 drop_rate: float = 0.0,
                 attn_drop_rate: float = 0.0,
                 drop_path_rate: float = 0.0,
                 frozen_stages: int = -1,
                 norm_eval: bool = False,
                 with_cp: bool = False,
                 ffn_recompute: bool = False,
                 attn_impl: str = 'auto',
                 init_cfg: dict | list | None = None) -> None:
        arch = resolve_arch(arch, ARCHS)
        dims, depths = arch['embed_dims'], arch['depths']
        if style not in STYLES:
            raise ValueError(f'Unknown style {style!r}: choose from {", ".join(STYLES)}.')
        if style != 'global':
            sizes = window_sizes if isinstance(window_sizes, (list, tuple)) else ()
            if len(sizes) != len(dims) or not all(isinstance(size, int) and size > 0 for size in sizes):
                raise ValueError(f'window_sizes must be {len(dims)} positive ints, one per stage; got '
                                 f'{window_sizes!r}.')
        if position not in OWN_POSITIONS:
            raise ValueError(f'Unknown position {position!r}: choose from {", ".join(OWN_POSITIONS)}.')
        check_settings(dims, in_channels, mlp_ratio, drop_rate=drop_rate, attn_drop_rate=attn_drop_rate,
                       drop_path_rate=drop_path_rate)
        if hwin_global_stages is None:
            hwin_global_stages = self._check_out_indices(out_indices, len(dims))
        elif not isinstance(hwin_global_stages, (list, tuple)) or not set(hwin_global_stages) <= set(range(len(dims))):
            raise ValueError(f'hwin_global_stages must be stages between 0 and {len(dims) - 1}; '
                             f'got {hwin_global_stages!r}.')
        norm_layer = partial(nn.LayerNorm, eps=1e-6)

        def make_embed(i: int) -> nn.Module:
            if i == 0:
                return StemV2(in_channels, dims[0], norm_layer, position)
            return PatchEmbedV2(dims[i - 1], dims[i], norm_layer, position)

        def make_attn(i: int, j: int) -> EMSAv2:
            ends_globally = style == 'hwin' and j == depths[i] - 1 and i in hwin_global_stages
            return EMSAv2(
                dims[i], arch['num_heads'][i], arch['sr_ratios'][i], head_mixing, attn_drop_rate, drop_rate, norm_layer,
                upsample_target, upsample_strategy,
                window_size=None if style == 'global' or ends_globally else window_sizes[i],
                attn_impl=attn_impl)

        def make_blocks(i: int, rates: list[float]) -> list[nn.Module]:
            blocks = [TransformerBlock(dims[i], make_attn(i, j), mlp_ratio, drop_rate, rate, norm_layer, with_cp,
                                       ffn_recompute) for j, rate in enumerate(rates)]
            return blocks + [CrossWindowConv(dims[i])] * (style == 'cwin')

        stages = range(1, len(dims) + 1)
        super().__init__(
            arch, make_embed, make_blocks, norm_layer,
            embed_names=('stem', *(f'patch_{i}' for i in stages[1:])),
            # Detectors have them in a Sequential, segmentors bare; a classifier's `norm` is not among them.
            published_norms={f'norm_{i}{suffix}': f'norm{i}' for i in stages for suffix in ('', '.0')},
            out_indices=out_indices,
            out_norm=out_norm,
            drop_path_rate=drop_path_rate,
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
            init_cfg=init_cfg)
