"""ResT V2: Simpler, Faster and Stronger (NeurIPS 2022, arXiv 2204.07366)."""

from __future__ import annotations

from typing import Sequence

from mmengine.registry import MODELS
from torch import nn

from ..layers import CrossWindowConv, EMSAv2, PatchEmbedV2, StemV2, WindowEMSAv2
from .pyramid import PyramidBackbone, resolve_arch, resolve_out_indices

ARCHS = {
    'tiny': dict(embed_dims=(96, 192, 384, 768), depths=(1, 2, 6, 2), num_heads=(1, 2, 4, 8), sr_ratios=(8, 4, 2, 1)),
    'small': dict(embed_dims=(96, 192, 384, 768), depths=(1, 2, 12, 2), num_heads=(1, 2, 4, 8), sr_ratios=(8, 4, 2, 1)),
    'base': dict(embed_dims=(96, 192, 384, 768), depths=(1, 3, 16, 3), num_heads=(1, 2, 4, 8), sr_ratios=(8, 4, 2, 1)),
    'large': dict(
        embed_dims=(128, 256, 512, 1024), depths=(2, 3, 16, 2), num_heads=(2, 4, 8, 16), sr_ratios=(8, 4, 2, 1)
    ),
}
STYLES = ('global', 'win', 'cwin', 'hwin')


@MODELS.register_module(name=['ResTv2', 'ResTV2'])
class ResTv2(PyramidBackbone):
    """ResTv2 backbone (arXiv 2204.07366), a four-stage pyramid of strides 4, 8, 16 and 32.

    Images may have any size. The window styles for fine-tuning restrict the attention, including its reduction and
    upsample branch, to windows. All styles load the published files; 'cwin' adds convolutions initialized to zero.
    The paper describes the styles without code. In this implementation:

    * windows are laid out from the upper left corner; those at the right and bottom border are smaller, not padded;
    * convolutions inside a window are zero-padded at its border;
    * 'hwin' ends every output stage with a global block.

    For the options of the paper's ablations, see :class:`~mmrest.backbones.ResTv2Ablation`.

    Args:
        arch (str | dict): 'tiny', 'small', 'base', 'large', or a dict of ``embed_dims``, ``depths``,
            ``num_heads`` and ``sr_ratios`` with one int per stage. Default: 'tiny'.
        in_channels (int): Number of channels of the image. Default: 3.
        style (str): 'global' (default): attention over the whole map. 'win': window attention in every block.
            'cwin': as 'win', with a residual 7x7 depthwise convolution across windows after the last block of each
            stage. 'hwin': as 'win', but the last block of the stages in ``hwin_global_stages`` is global.
        window_sizes (Sequence[int]): Window size of each stage in tokens. Default: (64, 32, 16, 8), with 8 x 8 keys
            per window in every stage.
        hwin_global_stages (Sequence[int], optional): Stages, 0-based, that end with a global block.
            Default: those in ``out_indices``.
        out_indices (int | Sequence[int]): Stages to output, 0-based and ascending; stages after the
            last are not built. Default: (0, 1, 2, 3).
        out_norm (str): LayerNorm of the outputs. 'branch' (default): on the output only. 'trunk': the normalized map
            is also the input of the next stage. 'none': no norm.
        mlp_ratio (float): Ratio of hidden to input channels of the FFN. Default: 4.
        drop_rate (float): Dropout rate after linear layers. Default: 0.
        attn_drop_rate (float): Dropout rate of attention maps. Default: 0.
        drop_path_rate (float): Stochastic depth rate of the last block; the rates increase linearly from 0.
            Default: 0.
        frozen_stages (int): -1 (default): none; 0: the stem; k: the stem and the first k stages.
        norm_eval (bool): Keep BatchNorm statistics fixed in training. Default: False.
        with_cp (bool): Recompute blocks in the backward pass to save memory. Default: False.
        ffn_recompute (bool): Recompute only the FFN of each block, which takes most of the memory of a block and is
            cheap to recompute. Combined with ``with_cp`` it needs the least memory. Default: False.
        attn_impl (str, optional): Implementation of the attention: 'auto' chooses by size; 'reference', 'direct',
            'chunked' and 'triton' ask for one, see :func:`mmrest.ops.emsa`. Default: the value of the environment
            variable MMREST_ATTN_IMPL when the model is built, else 'auto'.
        init_cfg (dict | list, optional): ``dict(type='Pretrained', checkpoint=path)`` loads the published files or
            checkpoints of this package.

    Attributes:
        out_channels (tuple[int]): Channels of each output.
        out_strides (tuple[int]): Stride of each output.

    Raises:
        ValueError: An argument is unknown or out of range.
    """

    embed_prefix = 'patch_'

    def __init__(
        self,
        arch: str | dict = 'tiny',
        in_channels: int = 3,
        style: str = 'global',
        window_sizes: Sequence[int] = (64, 32, 16, 8),
        hwin_global_stages: Sequence[int] | None = None,
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
        arch = resolve_arch(arch, ARCHS)
        num_stages = len(arch['depths'])
        if style not in STYLES:
            raise ValueError(f'Unknown style {style!r}: choose from {", ".join(STYLES)}.')
        if style != 'global':
            sizes = window_sizes if isinstance(window_sizes, (list, tuple)) else ()
            if len(sizes) != num_stages or not all(isinstance(size, int) and size > 0 for size in sizes):
                raise ValueError(
                    f'window_sizes must be {num_stages} positive ints, one per stage; got {window_sizes!r}.'
                )
        if hwin_global_stages is None:
            hwin_global_stages = resolve_out_indices(out_indices, num_stages)
        elif not isinstance(hwin_global_stages, (list, tuple)) or not set(hwin_global_stages) <= set(range(num_stages)):
            raise ValueError(
                f'hwin_global_stages must be stages between 0 and {num_stages - 1}; got {hwin_global_stages!r}.'
            )
        self.style = style
        self.window_sizes = tuple(window_sizes)
        self.hwin_global_stages = tuple(hwin_global_stages)
        super().__init__(
            arch=arch,
            in_channels=in_channels,
            out_indices=out_indices,
            out_norm=out_norm,
            mlp_ratio=mlp_ratio,
            drop_rate=drop_rate,
            attn_drop_rate=attn_drop_rate,
            drop_path_rate=drop_path_rate,
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
            with_cp=with_cp,
            ffn_recompute=ffn_recompute,
            attn_impl=attn_impl,
            init_cfg=init_cfg,
        )

    def norm_layer(self, channels: int) -> nn.LayerNorm:
        return nn.LayerNorm(channels, eps=1e-6)

    def build_embed(self, i: int) -> nn.Module:
        if i == 0:
            return StemV2(self.in_channels, self.embed_dims[0], self.norm_layer)
        return PatchEmbedV2(self.embed_dims[i - 1], self.embed_dims[i], self.norm_layer)

    def build_attention(self, i: int, j: int) -> nn.Module:
        window_size = self.window_size(i, j)
        if window_size is None:
            return EMSAv2(**self.attention_kwargs(i))
        return WindowEMSAv2(**self.attention_kwargs(i), window_size=window_size)

    def build_blocks(self, i: int, drop_path_rates: Sequence[float]) -> list[nn.Module]:
        blocks = super().build_blocks(i, drop_path_rates)
        return [*blocks, CrossWindowConv(self.embed_dims[i])] if self.style == 'cwin' else blocks

    def window_size(self, i: int, j: int) -> int | None:
        """Return the window size of block j of stage i in tokens; None if its attention is global."""
        is_last = j == self.depths[i] - 1
        if self.style == 'global' or self.style == 'hwin' and is_last and i in self.hwin_global_stages:
            return None
        return self.window_sizes[i]

    @property
    def published_norms(self) -> dict[str, str]:
        # Published detectors wrap them in a Sequential, segmentors do not; the `norm` of classifiers is unrelated.
        stages = range(1, len(self.depths) + 1)
        return {f'norm_{i}{suffix}': f'norm{i}' for i in stages for suffix in ('', '.0')}
