"""The walk down the stages, which all backbones of this package share."""

from __future__ import annotations

from typing import Any, Sequence

from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..checkpoints import load_pretrained, translate_backbone_keys
from ..layers import CrossWindowConv, TransformerBlock, to_map, to_tokens
from ..ops import channels_last, recompute

OUT_NORMS = ('branch', 'trunk', 'none')
ARCH_KEYS = ('embed_dims', 'depths', 'num_heads', 'sr_ratios')


def resolve_arch(arch: str | dict, table: dict[str, dict]) -> dict[str, tuple[int, ...]]:
    """Return the settings of an architecture, given by name or spelled out.

    Args:
        arch (str | dict): A key of ``table``, or a dict with ``embed_dims``, ``depths``,
            ``num_heads`` and ``sr_ratios``, each with one int per stage.
        table (dict): The named architectures.

    Raises:
        ValueError: The name is unknown, or a setting is missing, unknown or of another length.
    """
    if isinstance(arch, str):
        if arch.lower() not in table:
            raise ValueError(
                f'Unknown arch {arch!r}: choose from {", ".join(table)}, or give a dict with {", ".join(ARCH_KEYS)}.'
            )
        return table[arch.lower()]
    if not isinstance(arch, dict):
        raise ValueError(f'arch must be a name ({", ".join(table)}) or a dict, got {arch!r}.')
    if set(arch) != set(ARCH_KEYS):
        raise ValueError(f'An arch dict has exactly the keys {", ".join(ARCH_KEYS)}; got {", ".join(map(str, arch))}.')
    if not all(isinstance(arch[key], (list, tuple)) for key in ARCH_KEYS):
        raise ValueError(f'An arch dict gives one value per stage for every key; got {arch}.')
    settings = {key: tuple(arch[key]) for key in ARCH_KEYS}
    lengths = {key: len(values) for key, values in settings.items()}
    if len(set(lengths.values())) > 1 or not lengths['depths']:
        raise ValueError(f'An arch dict gives one value per stage for every key; got lengths {lengths}.')
    if not all(isinstance(value, int) and value > 0 for values in settings.values() for value in values):
        raise ValueError(f'The values of an arch dict are positive ints; got {settings}.')
    return settings


def resolve_out_indices(out_indices: int | Sequence[int], num_stages: int) -> tuple[int, ...]:
    """Return the stages to emit as ascending indices from 0.

    Raises:
        ValueError: They are not ascending stages of the network.
    """
    given = (out_indices,) if isinstance(out_indices, int) else out_indices
    valid = isinstance(given, (list, tuple, range)) and all(_is_int(i) for i in given)
    indices = tuple(i + num_stages if i < 0 else i for i in given) if valid else ()
    if not indices or list(indices) != sorted(set(indices)) or not 0 <= indices[0] <= indices[-1] < num_stages:
        raise ValueError(
            f'out_indices must be ascending stages between 0 and {num_stages - 1} '
            f'(negative ones count from the end), got {out_indices!r}.'
        )
    return indices


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


class PyramidBackbone(BaseModule):
    """Pyramid of four stages: an image walks down them, and chosen stages emit a feature map.

    Each stage embeds its input map at a lower resolution, then runs its blocks on tokens. Only stages up to the last
    emitted one are built, so that no parameter is left without a gradient. Sizes are read from tensors: output i has
    ceil(H / 2^(i+2)) rows, for any H from 1 up.

    A subclass says what the stages are made of, in :meth:`build_embed` and :meth:`build_attention`. What these read
    beside the attributes below, it sets before it calls ``super().__init__()``, which builds the stages.

    Args:
        arch (dict): As :func:`resolve_arch` returns it.
        in_channels (int): Channels of the image.
        out_indices (int | Sequence[int]): Stages to emit, 0-based, ascending; negative ones count
            from the end.
        out_norm (str): 'branch': an emitted map is LayerNorm-ed on its way out only. 'trunk': the
            next stage is fed the normalized map too. 'none': no norm.
        mlp_ratio (float): Hidden channels of an FFN in multiples of its input's.
        drop_rate, attn_drop_rate (float): Dropout after linear layers and of attention maps.
        drop_path_rate (float): Stochastic depth of the last block; earlier ones rise to it linearly
            from 0.
        frozen_stages (int): -1: nothing is frozen; 0: the stem; k: the stem and the first k stages
            with their embeddings and output norms.
        norm_eval (bool): Keep BatchNorm in eval mode (its statistics fixed) during training.
        with_cp (bool): Recompute blocks in the backward pass instead of storing their activations.
        ffn_recompute (bool): Recompute the FFN of each block in the backward pass.
        attn_impl (str, optional): Implementation of the attention, see :func:`mmrest.ops.resolve_impl`.
        init_cfg (dict, optional): ``dict(type='Pretrained', checkpoint=path)`` loads published or
            own files (:func:`mmrest.checkpoints.load_pretrained`); anything else goes to mmengine.

    Attributes:
        embed_dims, depths, num_heads, sr_ratios (tuple[int]): Settings of the stages.
        out_channels (tuple[int]): Channels of each emitted map.
        out_strides (tuple[int]): Stride of each emitted map.

    Raises:
        ValueError: An argument is out of its range.
    """

    embed_prefix = 'patch_embed_'  # of the names of the embeddings after the stem, as published

    def __init__(
        self,
        arch: dict[str, tuple[int, ...]],
        in_channels: int,
        out_indices: int | Sequence[int],
        out_norm: str,
        mlp_ratio: float,
        drop_rate: float,
        attn_drop_rate: float,
        drop_path_rate: float,
        frozen_stages: int,
        norm_eval: bool,
        with_cp: bool,
        ffn_recompute: bool,
        attn_impl: str | None,
        init_cfg: dict | list | None,
    ) -> None:
        super().__init__(init_cfg)
        self.embed_dims, self.depths, self.num_heads, self.sr_ratios = (arch[key] for key in ARCH_KEYS)
        num_stages = len(self.depths)
        if not _is_int(in_channels) or in_channels < 1:
            raise ValueError(f'in_channels must be a positive int, got {in_channels!r}.')
        if not isinstance(mlp_ratio, (int, float)) or int(min(self.embed_dims) * mlp_ratio) < 1:
            raise ValueError(f'mlp_ratio must be a positive number that leaves a hidden channel, got {mlp_ratio!r}.')
        rates = dict(drop_rate=drop_rate, attn_drop_rate=attn_drop_rate, drop_path_rate=drop_path_rate)
        for name, rate in rates.items():
            if not isinstance(rate, (int, float)) or not 0 <= rate < 1:
                raise ValueError(f'{name} must be a probability from 0 to less than 1, got {rate!r}.')
        if out_norm not in OUT_NORMS:
            raise ValueError(f'Unknown out_norm {out_norm!r}: choose from {", ".join(OUT_NORMS)}.')
        if not _is_int(frozen_stages) or not -1 <= frozen_stages <= num_stages:
            raise ValueError(f'frozen_stages must be an int between -1 and {num_stages}, got {frozen_stages!r}.')
        self.in_channels = in_channels
        self.out_indices = resolve_out_indices(out_indices, num_stages)
        self.out_norm = out_norm
        self.mlp_ratio = mlp_ratio
        self.drop_rate = drop_rate
        self.attn_drop_rate = attn_drop_rate
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.with_cp = with_cp
        self.ffn_recompute = ffn_recompute
        self.attn_impl = attn_impl
        self.num_stages = self.out_indices[-1] + 1
        self.out_channels = tuple(self.embed_dims[i] for i in self.out_indices)
        self.out_strides = tuple(2 ** (i + 2) for i in self.out_indices)
        self.embed_names = ('stem', *(f'{self.embed_prefix}{i + 1}' for i in range(1, num_stages)))
        self.published_norms = self.name_published_norms()

        # Spread over the whole network, built or not, so that a stage does not depend on what is emitted.
        drop_path_rates = [drop_path_rate * j / max(sum(self.depths) - 1, 1) for j in range(sum(self.depths))]
        for i in range(self.num_stages):
            first = sum(self.depths[:i])
            self.add_module(self.embed_names[i], self.build_embed(i))
            blocks = self.build_blocks(i, drop_path_rates[first : first + self.depths[i]])
            self.add_module(f'stage{i + 1}', nn.ModuleList(blocks))
            if out_norm != 'none' and i in self.out_indices:
                self.add_module(f'norm{i + 1}', self.norm_layer(self.embed_dims[i]))

        self.apply(_init_weights)
        # A hook, so that published files load wherever a state dict is loaded, at test time too.
        self._register_load_state_dict_pre_hook(self.translate_state_dict)
        self._freeze_stages()

    def norm_layer(self, channels: int) -> nn.Module:
        """Build a LayerNorm."""
        raise NotImplementedError

    def build_embed(self, i: int) -> nn.Module:
        """Build the stem (i = 0) or the patch embedding before stage i: (B, C', H', W') -> (B, C, H, W)."""
        raise NotImplementedError

    def build_attention(self, i: int, j: int) -> nn.Module:
        """Build the attention of block j of stage i, which is called with tokens (B, H * W, C) and (H, W)."""
        raise NotImplementedError

    def attention_settings(self, i: int) -> dict[str, Any]:
        """Return the arguments that every attention of stage i is built with, by name."""
        return dict(
            embed_dims=self.embed_dims[i],
            num_heads=self.num_heads[i],
            sr_ratio=self.sr_ratios[i],
            attn_drop_rate=self.attn_drop_rate,
            proj_drop_rate=self.drop_rate,
            norm_layer=self.norm_layer,
            attn_impl=self.attn_impl,
        )

    def build_blocks(self, i: int, drop_path_rates: Sequence[float]) -> list[nn.Module]:
        """Build the blocks of stage i, one for each rate of stochastic depth; called as their attention is."""
        return [
            TransformerBlock(
                self.embed_dims[i],
                self.build_attention(i, j),
                self.mlp_ratio,
                self.drop_rate,
                rate,
                self.norm_layer,
                self.ffn_recompute,
            )
            for j, rate in enumerate(drop_path_rates)
        ]

    def name_published_norms(self) -> dict[str, str]:
        """Return the names of output norms in published files, each with its name here."""
        return {}

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, in_channels, H, W) -> per emitted stage (B, C_i, ceil(H / 2^(i+2)), ceil(W / 2^(i+2)))."""
        x = channels_last(x)
        outs = []
        for i in range(self.num_stages):
            x = getattr(self, self.embed_names[i])(x)
            hw_shape = (x.shape[-2], x.shape[-1])
            x = to_tokens(x)
            for block in getattr(self, f'stage{i + 1}'):
                x = recompute(block, x, hw_shape) if self.with_cp else block(x, hw_shape)
            if i in self.out_indices:
                out = x if self.out_norm == 'none' else getattr(self, f'norm{i + 1}')(x)
                # Heads may ask for plain memory; the convolutions of the next stage do not.
                outs.append(to_map(out, hw_shape).contiguous())
                x = out if self.out_norm == 'trunk' else x
            x = to_map(x, hw_shape)
        return tuple(outs)

    def init_weights(self) -> None:
        """Load pretrained weights, if ``init_cfg`` asks for them. mmengine's runner calls this."""
        if isinstance(self.init_cfg, dict) and self.init_cfg.get('type') == 'Pretrained':
            if not self.is_init:  # type: ignore[has-type]
                load_pretrained(self, **{k: v for k, v in self.init_cfg.items() if k != 'type'})
                self.is_init = True
            # Pretrained weights may replace frozen ones, but must not thaw them.
            self._freeze_stages()
        else:
            super().init_weights()

    def translate_state_dict(self, state_dict: dict[str, Tensor], prefix: str = '', *_) -> None:
        """Rename published keys under ``prefix`` to this backbone's, in place; own keys stay."""
        keys = [key[len(prefix) :] for key in state_dict if key.startswith(prefix)]
        own_keys = self.state_dict().keys()
        anchor = next(key for key in own_keys if key.startswith(self.embed_names[0] + '.'))
        for old, new in translate_backbone_keys(keys, own_keys, self.published_norms, anchor).items():
            state_dict[prefix + new] = state_dict.pop(prefix + old)

    def train(self, mode: bool = True) -> PyramidBackbone:
        """As in ``nn.Module``, but frozen stages, and with ``norm_eval`` all BatchNorms, stay in eval mode."""
        super().train(mode)
        self._freeze_stages()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Return the stage of a parameter, for learning rates that decay by stage.

        Args:
            param_name (str): Name of the parameter in the model.
            prefix (str): What precedes this backbone's names in it, e.g. 'backbone.'.

        Returns:
            tuple[int, int]: The depth, 0 for the stem, i for stage i with its embedding and output norm, and
                one more than the last stage for what is not of this backbone; and the number of depths.
        """
        num_depths = len(self.embed_names) + 2
        if not param_name.startswith(prefix):
            return num_depths - 1, num_depths
        module = param_name[len(prefix) :].split('.')[0]
        if module == self.embed_names[0]:
            return 0, num_depths
        stages = (i + 1 for i in range(len(self.embed_names)) if module in self.stage_modules(i))
        return next(stages, num_depths - 1), num_depths

    def stage_modules(self, i: int) -> tuple[str, str, str]:
        """Return the names of the parts of stage i: its embedding, its blocks, and its output norm if it has one."""
        return self.embed_names[i], f'stage{i + 1}', f'norm{i + 1}'

    def _freeze_stages(self) -> None:
        if self.frozen_stages < 0:
            return
        names = [self.embed_names[0]]
        for i in range(min(self.frozen_stages, self.num_stages)):
            names += self.stage_modules(i)
        for name in names:
            module = getattr(self, name, None)  # not every stage has an output norm
            if module is not None:
                module.eval()
                module.requires_grad_(False)


def _init_weights(module: nn.Module) -> None:
    """Truncated normal for linear layers, He initialization (fan out) for convolutions, zero biases."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
    elif isinstance(module, nn.Conv2d):
        # The fan of a depthwise convolution is that of one channel, which PyTorch does not count so.
        fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1] // module.groups
        nn.init.normal_(module.weight, std=(2.0 / fan_out) ** 0.5)
    elif isinstance(module, CrossWindowConv):  # after the convolution in it
        nn.init.zeros_(module.conv.weight)
        return
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)
