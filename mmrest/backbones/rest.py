"""ResT: An Efficient Transformer for Visual Recognition (NeurIPS 2021, arXiv 2105.13677)."""
from __future__ import annotations

from functools import partial
from typing import Sequence

from mmengine.registry import MODELS
from torch import nn

from ..layers import EMSA, MSA, REDUCTIONS, STEMS, PatchEmbed, TransformerBlock
from .pyramid import PyramidBackbone, check_settings, resolve_arch

ARCHS = {
    'lite': dict(embed_dims=(64, 128, 256, 512), depths=(2, 2, 2, 2), num_heads=(1, 2, 4, 8), sr_ratios=(8, 4, 2, 1)),
    'small': dict(embed_dims=(64, 128, 256, 512), depths=(2, 2, 6, 2), num_heads=(1, 2, 4, 8), sr_ratios=(8, 4, 2, 1)),
    'base': dict(embed_dims=(96, 192, 384, 768), depths=(2, 2, 6, 2), num_heads=(1, 2, 4, 8), sr_ratios=(8, 4, 2, 1)),
    'large': dict(embed_dims=(96, 192, 384, 768), depths=(2, 2, 18, 2), num_heads=(1, 2, 4, 8), sr_ratios=(8, 4, 2, 1)),
}
ATTENTIONS = ('emsa', 'msa')
# Of the heads' interaction: whether there is a convolution across heads, whether InstanceNorm after it.
HEAD_INTERACTIONS = {'conv+in': (True, True), 'conv': (True, False), 'none': (False, False)}


@MODELS.register_module()
class ResT(PyramidBackbone):
    """ResT backbone: an image of any size to a pyramid of strides 4, 8, 16, 32.

    The InstanceNorm in its attention averages over whole maps, so the features of an image depend
    on all of it, and on the padding it gets in a batch.

    The arguments from ``stem`` to ``position`` are what the ablations of the paper vary (Tables 5 to
    9); their defaults are the published models.

    Args:
        arch (str | dict): 'lite', 'small', 'base', 'large', or a dict of ``embed_dims``, ``depths``,
            ``num_heads`` and ``sr_ratios`` with one int per stage. Default: 'small'.
        in_channels (int): Channels of the image. Default: 3.
        out_indices (int | Sequence[int]): Stages to emit, 0-based and ascending; stages after the
            last are not built. Default: (0, 1, 2, 3).
        out_norm (str): LayerNorm of emitted maps. 'branch' (default): on the way out only. 'trunk':
            the next stage is fed the normalised map as well, as in the authors' published detectors.
            'none': without, as in Table 10 of the paper.
        stem (str): 'rest' (default), three convolutions; 'resnet', the stem of ResNet, with which the
            models have the parameters and MACs that the paper prints; 'pvt', patches of 4x4.
        attention (str): 'emsa' (default), or 'msa': no reduction and no interaction of heads.
        reduction (str): What shrinks keys and values, 'dwconv' (default), 'avgpool' or 'maxpool'.
        head_interaction (str): 'conv+in' (default): a 1x1 convolution across heads before the softmax
            and InstanceNorm after it; 'conv': without the norm; 'none': without both.
        position (str): Position encoding, 'pa' (default); 'gl' as in the text of the paper (pointwise),
            'gl_dw' as in the authors' code (depthwise 3x3); 'le', a learnt embedding; or 'none'.
        pretrain_img_size (int): Side in pixels of the images that 'le' is made for; at other sizes it is
            interpolated. Default: 224.
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

    Examples:
        >>> model = ResT('lite').eval()
        >>> [tuple(out.shape) for out in model(torch.rand(1, 3, 97, 64))]
        [(1, 64, 25, 16), (1, 128, 13, 8), (1, 256, 7, 4), (1, 512, 4, 2)]
    """

    def __init__(self,
                 arch: str | dict = 'small',
                 in_channels: int = 3,
                 out_indices: int | Sequence[int] = (0, 1, 2, 3),
                 out_norm: str = 'branch',
                 stem: str = 'rest',
                 attention: str = 'emsa',
                 reduction: str = 'dwconv',
                 head_interaction: str = 'conv+in',
                 position: str = 'pa',
                 pretrain_img_size: int = 224,
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
        dims = arch['embed_dims']
        norm_layer = partial(nn.LayerNorm, eps=1e-5)
        for name, value, choices in (('stem', stem, STEMS), ('attention', attention, ATTENTIONS),
                                     ('reduction', reduction, REDUCTIONS),
                                     ('head_interaction', head_interaction, HEAD_INTERACTIONS)):
            if value not in choices:
                raise ValueError(f'Unknown {name} {value!r}: choose from {", ".join(choices)}.')
        if attention == 'msa' and (reduction, head_interaction) != ('dwconv', 'conv+in'):
            raise ValueError("attention='msa' has no reduction and no interaction of heads: leave reduction and "
                             'head_interaction at their defaults.')
        if not isinstance(pretrain_img_size, int) or pretrain_img_size < 1:
            raise ValueError(f'pretrain_img_size must be a positive int, got {pretrain_img_size!r}.')
        check_settings(dims, in_channels, mlp_ratio, drop_rate=drop_rate, attn_drop_rate=attn_drop_rate,
                       drop_path_rate=drop_path_rate)
        head_mixing, head_norm = HEAD_INTERACTIONS[head_interaction]

        def make_embed(i: int) -> nn.Module:
            encoding = dict(position=position, grid_size=-(-pretrain_img_size // 2**(i + 2)))
            if i == 0:
                return STEMS[stem](in_channels, dims[0], **encoding)
            return PatchEmbed(dims[i - 1], dims[i], **encoding)

        def make_attn(i: int) -> EMSA:
            if attention == 'msa':
                return MSA(dims[i], arch['num_heads'][i], attn_drop_rate, drop_rate, attn_impl)
            return EMSA(dims[i], arch['num_heads'][i], arch['sr_ratios'][i], head_mixing, attn_drop_rate, drop_rate,
                        norm_layer, attn_impl, head_norm, reduction)

        def make_blocks(i: int, rates: list[float]) -> list[nn.Module]:
            return [TransformerBlock(dims[i], make_attn(i), mlp_ratio, drop_rate, rate, norm_layer, with_cp,
                                     ffn_recompute) for rate in rates]

        super().__init__(
            arch, make_embed, make_blocks, norm_layer,
            embed_names=('stem', *(f'patch_embed_{i + 1}' for i in range(1, len(dims)))),
            published_norms={'norm': f'norm{len(dims)}'},
            out_indices=out_indices,
            out_norm=out_norm,
            drop_path_rate=drop_path_rate,
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
            init_cfg=init_cfg)
