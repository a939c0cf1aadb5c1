"""Layer-wise learning rate decay."""

from __future__ import annotations

from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Optimizer wrapper constructor with learning rate decay by depth.

    The learning rate of a parameter is multiplied by ``layer_decay_rate ** (num_depths - 1 - depth)``. The depth is
    given by modules with ``get_layer_depth(name, prefix) -> (depth, num_depths)``, such as the backbones of this
    package and of mmpretrain. Parameters outside of such modules keep the learning rate. ResT and ResTv2 count
    stages, as in the stage-wise decay of the ResTv2 recipes: stage 4 is one step below the heads, the stem five.
    Unlike mmseg's constructor for ConvNeXt, weight decay is controlled by ``paramwise_cfg`` alone.

    ``paramwise_cfg`` takes ``layer_decay_rate`` and all settings of mmengine's default constructor; ``lr_mult`` of
    ``custom_keys`` is multiplied with the decay. Parameter groups store the factor as ``lr_scale``.

    Raises:
        ValueError: ``layer_decay_rate`` is missing or not in (0, 1], the optimizer has no learning rate, or no module
            has ``get_layer_depth``.

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
        # Called for the whole model, after its children have added their groups.
        scales = self._scales(module)
        for group in params:
            group['lr_scale'] = scales[id(group['params'][0])]
            group['lr'] = group.get('lr', self.base_lr) * group['lr_scale']

    def _scales(self, model: nn.Module) -> dict[int, float]:
        """Return the learning rate factor of every parameter, by its id."""
        # Skip the model itself, which in mmpretrain delegates to its backbone. Inner modules come last and override
        # the modules around them.
        modules = [
            (f'{name}.', module)
            for name, module in model.named_modules()
            if name and hasattr(module, 'get_layer_depth')
        ]
        if not modules:
            raise ValueError(
                'Layer decay needs a model with a part that has get_layer_depth, such as the backbones '
                f'of mmrest or mmpretrain; {type(model).__name__} has none.'
            )
        rate = self.paramwise_cfg['layer_decay_rate']
        scales = {id(param): 1.0 for param in model.parameters()}
        for prefix, module in modules:
            for name, param in module.named_parameters():
                depth, num_depths = module.get_layer_depth(prefix + name, prefix)
                scales[id(param)] = rate ** (num_depths - 1 - depth)
        return scales
