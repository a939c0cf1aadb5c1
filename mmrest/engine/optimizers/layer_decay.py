"""Learning rates that fall towards the input, for fine-tuning."""

from __future__ import annotations

from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Multiplies the learning rate of a parameter by ``layer_decay_rate`` for each step up to the last depth.

    The depth is asked of the model's parts that have ``get_layer_depth(name, prefix) -> (depth, number
    of depths)``, as backbones of this package and of mmpretrain do. What is at the last depth, and everything
    outside of such parts, keeps the learning rate. ResT and ResTv2 count stages, so stage 4 is one step
    below the heads and the stem five: the stage-wise decay of the ResTv2 recipes. (mmseg's constructor for
    ConvNeXt counts by a list of model names, puts all embeddings at depth 0 and takes weight decay off every
    vector; here ``paramwise_cfg`` decides on weight decay.)

    ``paramwise_cfg`` takes ``layer_decay_rate`` beside everything that mmengine's default constructor
    takes; ``lr_mult`` of ``custom_keys`` and the decay multiply. Param groups carry the factor as ``lr_scale``.

    Raises:
        ValueError: ``layer_decay_rate`` is missing or not in (0, 1], there is no learning rate to
            multiply, or no part of the model has ``get_layer_depth``.

    Examples:
        >>> optim_wrapper = dict(
        ...     optimizer=dict(type='AdamW', lr=1.5e-4, weight_decay=0.05),
        ...     constructor='LayerDecayOptimWrapperConstructor',
        ...     paramwise_cfg=dict(layer_decay_rate=0.9, norm_decay_mult=0.0))
    """

    def _validate_cfg(self) -> None:
        super()._validate_cfg()
        rate = self.paramwise_cfg.get('layer_decay_rate')
        if not isinstance(rate, (int, float)) or not 0 < rate <= 1:
            raise ValueError(f'paramwise_cfg needs a layer_decay_rate in (0, 1], got {rate!r}.')
        if self.base_lr is None:
            raise ValueError('Layer decay needs the lr of the optimizer to be set.')

    def add_params(
        self, params: list[dict], module: nn.Module, prefix: str = '', is_dcn_module: bool | None = None
    ) -> None:
        """Append one param group per parameter of ``module`` to ``params``; mmengine calls this for each child."""
        super().add_params(params, module, prefix, is_dcn_module)
        if prefix:
            return
        # The model as a whole: its children have added their groups by now.
        scales = self._scales(module)
        for group in params:
            group['lr_scale'] = scales[id(group['params'][0])]
            group['lr'] = group.get('lr', self.base_lr) * group['lr_scale']

    def _scales(self, model: nn.Module) -> dict[int, float]:
        """Factor of the learning rate of every parameter, by the parameter's id."""
        # Not the model itself: that of mmpretrain only hands the question on to its backbone. Parts come
        # before what is inside them, so the innermost one decides.
        parts = [
            (f'{name}.', part) for name, part in model.named_modules() if name and hasattr(part, 'get_layer_depth')
        ]
        if not parts:
            raise ValueError(
                'Layer decay needs a model with a part that has get_layer_depth, such as the backbones '
                f'of mmrest or mmpretrain; {type(model).__name__} has none.'
            )
        rate = self.paramwise_cfg['layer_decay_rate']
        scales = {id(param): 1.0 for param in model.parameters()}
        for prefix, part in parts:
            for name, param in part.named_parameters():
                depth, num_depths = part.get_layer_depth(prefix + name, prefix)
                scales[id(param)] = rate ** (num_depths - 1 - depth)
        return scales
