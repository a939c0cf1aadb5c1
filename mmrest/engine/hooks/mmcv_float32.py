"""Float32 for mmcv's operators in bfloat16 training."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch import Tensor, nn

from ...checkpoints.loading import inner_model


def keep_mmcv_in_float32(model: nn.Module) -> None:
    """Run operators of mmcv in float32, for detectors that are trained in bfloat16.

    RoIAlign, focal loss and NMS of mmcv have no bfloat16 kernels (on CPUs, some have no float16 kernels either), and
    autocast does not cover them. Inputs of mmdet's RoI extractors and outputs of its dense heads are converted.

    Args:
        model (nn.Module): Detector; forward hooks are registered on its modules.
    """
    for module in model.modules():
        names = {base.__name__ for base in type(module).__mro__}
        if 'BaseRoIExtractor' in names:
            module.register_forward_pre_hook(_widen_inputs)
        elif 'BaseDenseHead' in names:
            module.register_forward_hook(_widen_outputs)


# Functions, since lambdas cannot be pickled with the model.
def _widen_inputs(module: nn.Module, args: Any) -> Any:
    return _to_float32(args)


def _widen_outputs(module: nn.Module, args: Any, outputs: Any) -> Any:
    return _to_float32(outputs)


def _to_float32(value: Any) -> Any:
    """Convert the bfloat16 tensors (on CPUs also float16) in nested tuples and lists to float32."""
    if isinstance(value, Tensor):
        lacking = value.dtype == torch.bfloat16 or value.dtype == torch.float16 and value.device.type == 'cpu'
        return value.float() if lacking else value
    return type(value)(map(_to_float32, value)) if isinstance(value, (tuple, list)) else value


@HOOKS.register_module()
class KeepMMCVInFloat32Hook(Hook):
    """Run operators of mmcv in float32 during training in bfloat16, see :func:`keep_mmcv_in_float32`.

    The tools of this package do this automatically. With mmdet's tools, use this hook together with
    ``optim_wrapper=dict(type='AmpOptimWrapper', dtype='bfloat16')``.

    Examples:
        >>> custom_hooks = [dict(type='KeepMMCVInFloat32Hook')]
    """

    def before_train(self, runner: Any) -> None:
        """Set up the model; validation and testing are not in bfloat16."""
        keep_mmcv_in_float32(inner_model(runner.model))
