"""Base class of the backbones: a pyramid of stages of patch embedding and transformer blocks."""

from __future__ import annotations

from typing import Any, Sequence

from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..checkpoints import load_pretrained, translate_backbone_keys
from ..layers import TransformerBlock, to_map, to_tokens
from ..ops import channels_last, recompute

OUT_NORMS = ('branch', 'trunk', 'none')
ARCH_KEYS = ('embed_dims', 'depths', 'num_heads', 'sr_ratios')


def resolve_arch(arch: str | dict, table: dict[str, dict]) -> dict[str, tuple[int, ...]]:
    """Return the settings of an architecture given by name or as a dict.

    Args:
        arch (str | dict): A key of ``table``, or a dict with ``embed_dims``, ``depths``,
            ``num_heads`` and ``sr_ratios``, each with one int per stage.
        table (dict): Named architectures.

    Raises:
        ValueError: The name is unknown, or a setting is missing, unknown or of the wrong length.
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
    """Return the stages to output as ascending indices from 0.

    Raises:
        ValueError: The indices are not ascending or out of range.
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
    """Pyramid backbone: stages of decreasing resolution, of which selected ones output a feature map.

    Each stage downsamples its input map with an embedding, then applies its blocks to the tokens. Stages after the
    last output are not built, so that every parameter gets a gradient. Any image size from 1x1 works: output i has
    ceil(H / 2^(i+2)) rows.

    Subclasses implement :meth:`norm_layer`, :meth:`build_embed` and :meth:`build_attention`. These are called by
    ``super().__init__()``, so a subclass sets the attributes they need before that call.

    Args:
        arch (dict): Settings as returned by :func:`resolve_arch`.
        in_channels (int): Number of channels of the image.
        out_indices (int | Sequence[int]): Stages to output, 0-based and ascending; negative ones count from the end.
        out_norm (str): 'branch': LayerNorm on the output only. 'trunk': the normalized map is also the input of the
            next stage. 'none': no norm.
        mlp_ratio (float): Ratio of hidden to input channels of the FFN.
        drop_rate, attn_drop_rate (float): Dropout rates after linear layers and of attention maps.
        drop_path_rate (float): Stochastic depth rate of the last block; the rates increase linearly from 0.
        frozen_stages (int): -1: none; 0: the stem; k: the stem and the first k stages with their embeddings and
            output norms.
        norm_eval (bool): Keep BatchNorm in eval mode (fixed running statistics) during training.
        with_cp (bool): Recompute blocks in the backward pass instead of storing their activations.
        ffn_recompute (bool): Recompute only the FFN of each block in the backward pass.
        attn_impl (str, optional): Implementation of the attention, see :func:`mmrest.ops.resolve_impl`.
        init_cfg (dict, optional): ``dict(type='Pretrained', checkpoint=path)`` loads published files or checkpoints
            of this package with :func:`mmrest.checkpoints.load_pretrained`; others are handled by mmengine.

    Attributes:
        embed_dims, depths, num_heads, sr_ratios (tuple[int]): Settings of the stages.
        out_channels (tuple[int]): Channels of each output.
        out_strides (tuple[int]): Stride of each output.

    Raises:
        ValueError: An argument is out of range.
    """

    archs: dict[str, dict] = {}  # settings of the named architectures
    embed_prefix = 'patch_embed_'  # published names of the patch embeddings are this and a number from 2

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
            raise ValueError(f'mlp_ratio must be a number that gives at least one hidden channel, got {mlp_ratio!r}.')
        rates = dict(drop_rate=drop_rate, attn_drop_rate=attn_drop_rate, drop_path_rate=drop_path_rate)
        for name, rate in rates.items():
            if not isinstance(rate, (int, float)) or not 0 <= rate < 1:
                raise ValueError(f'{name} must be a probability in [0, 1), got {rate!r}.')
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
        self.num_built_stages = self.out_indices[-1] + 1  # up to the last output
        self.out_channels = tuple(self.embed_dims[i] for i in self.out_indices)
        self.out_strides = tuple(2 ** (i + 2) for i in self.out_indices)
        self.embed_names = ('stem', *(f'{self.embed_prefix}{i + 1}' for i in range(1, num_stages)))

        # Linear over the whole network, including stages that are not built, so that out_indices has no influence.
        depth = sum(self.depths)
        drop_path_rates = [drop_path_rate * j / max(depth - 1, 1) for j in range(depth)]
        # Modules are added by name, because the keys of published files number them from 1: stage1, patch_embed_2.
        for i in range(self.num_built_stages):
            start = sum(self.depths[:i])
            self.add_module(self.embed_names[i], self.build_embed(i))
            blocks = self.build_blocks(i, drop_path_rates[start : start + self.depths[i]])
            self.add_module(f'stage{i + 1}', nn.ModuleList(blocks))
            if out_norm != 'none' and i in self.out_indices:
                self.add_module(f'norm{i + 1}', self.norm_layer(self.embed_dims[i]))

        self.apply(_init_weights)
        # load_state_dict() of this backbone or of a model with it calls the hook first, so it accepts published files.
        self._register_load_state_dict_pre_hook(self.translate_state_dict)
        self._freeze_stages()

    def norm_layer(self, channels: int) -> nn.Module:
        """Build the LayerNorm of this model."""
        raise NotImplementedError

    def build_embed(self, i: int) -> nn.Module:
        """Build the stem (i = 0) or the patch embedding of stage i: (B, C', H', W') -> (B, C, H, W)."""
        raise NotImplementedError

    def build_attention(self, i: int, j: int) -> nn.Module:
        """Build the attention of block j of stage i; its inputs are tokens (B, H * W, C) and (H, W)."""
        raise NotImplementedError

    def attention_kwargs(self, i: int) -> dict[str, Any]:
        """Return the keyword arguments of all attention modules of stage i."""
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
        """Build the blocks of stage i, one for each stochastic depth rate."""
        return [
            TransformerBlock(
                embed_dims=self.embed_dims[i],
                attn=self.build_attention(i, j),
                mlp_ratio=self.mlp_ratio,
                drop_rate=self.drop_rate,
                drop_path_rate=rate,
                norm_layer=self.norm_layer,
                ffn_recompute=self.ffn_recompute,
            )
            for j, rate in enumerate(drop_path_rates)
        ]

    @property
    def published_norms(self) -> dict[str, str]:
        """Names of output norms in published files, mapped to the names in this model."""
        return {}

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, in_channels, H, W) -> for each output stage i (B, C_i, ceil(H / 2^(i+2)), ceil(W / 2^(i+2)))."""
        x = channels_last(x)
        outs = []
        for i in range(self.num_built_stages):
            x = getattr(self, self.embed_names[i])(x)
            hw_shape = (x.shape[-2], x.shape[-1])
            x = to_tokens(x)
            for block in getattr(self, f'stage{i + 1}'):
                x = recompute(block, x, hw_shape) if self.with_cp else block(x, hw_shape)
            if i in self.out_indices:
                out = x if self.out_norm == 'none' else getattr(self, f'norm{i + 1}')(x)
                # Some heads call view(), which needs contiguous memory.
                outs.append(to_map(out, hw_shape).contiguous())
                if self.out_norm == 'trunk':  # the next stage continues from the normalized map
                    x = out
            x = to_map(x, hw_shape)
        return tuple(outs)

    def init_weights(self) -> None:
        """Load the pretrained weights of ``init_cfg``; called by mmengine's runner."""
        if isinstance(self.init_cfg, dict) and self.init_cfg.get('type') == 'Pretrained':
            if not self.is_init:  # type: ignore[has-type]  # defined by BaseModule, which is untyped
                load_pretrained(self, **{k: v for k, v in self.init_cfg.items() if k != 'type'})
                self.is_init = True
            self._freeze_stages()
        else:
            super().init_weights()

    def translate_state_dict(self, state_dict: dict[str, Tensor], prefix: str = '', *_) -> None:
        """Rename published keys under ``prefix`` to the keys of this backbone, in place.

        Args:
            state_dict (dict): Tensors by key; keys of this backbone are not changed.
            prefix (str): Prefix of the keys to translate.
        """
        keys = [key[len(prefix) :] for key in state_dict if key.startswith(prefix)]
        own_keys = self.state_dict().keys()
        # Every file of this backbone has its stem, so that a key of the stem tells the prefix in the file.
        anchor = next(key for key in own_keys if key.startswith(self.embed_names[0] + '.'))
        for old, new in translate_backbone_keys(keys, own_keys, self.published_norms, anchor).items():
            state_dict[prefix + new] = state_dict.pop(prefix + old)

    def train(self, mode: bool = True) -> PyramidBackbone:
        """Set training mode; frozen stages and, with ``norm_eval``, BatchNorm layers stay in eval mode."""
        super().train(mode)
        self._freeze_stages()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Return the depth of a parameter, for stage-wise learning rate decay.

        Args:
            param_name (str): Name of the parameter in the model.
            prefix (str): Prefix of this backbone's parameters in the model, e.g. 'backbone.'.

        Returns:
            tuple[int, int]: The depth of the parameter and the number of depths. The depth is 0 for the stem, 1 for
                the blocks and output norm of the first stage, 2 for the second stage with its embedding, and so on;
                the last depth is that of other parameters, such as those of a neck.
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
        """Return the module names of stage i: embedding, blocks and output norm (which may not exist)."""
        return self.embed_names[i], f'stage{i + 1}', f'norm{i + 1}'

    def _freeze_stages(self) -> None:
        if self.frozen_stages < 0:
            return
        names = [self.embed_names[0]]
        for i in range(min(self.frozen_stages, self.num_built_stages)):
            names += self.stage_modules(i)
        for name in names:
            module = getattr(self, name, None)
            if module is not None:  # not every stage has an output norm
                module.eval()
                module.requires_grad_(False)


def _init_weights(module: nn.Module) -> None:
    """Initialize linear layers (truncated normal), convolutions (He, fan out) and biases (zero)."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
    elif isinstance(module, nn.Conv2d):
        # nn.init.kaiming_normal_ ignores groups and would overestimate the fan of a depthwise convolution.
        fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1] // module.groups
        nn.init.normal_(module.weight, std=(2.0 / fan_out) ** 0.5)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)
