"""Hooks that modify the model: compiled backbone, and float32 for mmcv's operators in bfloat16 training."""

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
class CompileBackboneHook(Hook):
    """Compile the backbone of a model with ``torch.compile`` at the start of a run.

    mmengine's ``compile=True`` compiles the whole training step, including the data-dependent Python code of the
    heads. Here the backbone alone is compiled in place (``nn.Module.compile``). Parameter names do not change, so
    checkpoints are the same with and without this hook.

    Args:
        module (str): Dotted name of the module to compile. Default: 'backbone'.
        backend (str): As in :func:`torch.compile`. 'inductor' (default) needs a C++ compiler, on GPUs Triton.
        mode (str, optional): As in :func:`torch.compile`, for 'inductor': 'reduce-overhead' or 'max-autotune'.
        dynamic (bool, optional): False (default): compile each image size separately; from the ninth size on
            (``torch._dynamo.config.recompile_limit``), run uncompiled. True: use symbolic sizes. None: use symbolic
            sizes from the second size on. On CPUs, Inductor of torch 2.13 fails with symbolic sizes ('cannot
            determine truth value of Relational').
        fullgraph (bool): Raise an error at graph breaks. Default: False.

    Raises:
        ValueError: The model has no such module; raised at the start of a run.

    Examples:
        >>> custom_hooks = [dict(type='CompileBackboneHook')]
    """

    # Runs after hooks that copy the model, such as EMAHook; copies are not compiled.
    priority = 'LOW'

    def __init__(
        self,
        module: str = 'backbone',
        backend: str = 'inductor',
        mode: str | None = None,
        dynamic: bool | None = False,
        fullgraph: bool = False,
    ) -> None:
        self.module = module
        self.options = dict(backend=backend, mode=mode, dynamic=dynamic, fullgraph=fullgraph)

    def before_train(self, runner: Any) -> None:
        """Compile before the first step."""
        self._compile(runner)

    def before_val(self, runner: Any) -> None:
        """Compile before validation, if the run does not train."""
        self._compile(runner)

    def before_test(self, runner: Any) -> None:
        """Compile before testing."""
        self._compile(runner)

    def _compile(self, runner: Any) -> None:
        model = inner_model(runner.model)
        try:
            module = model.get_submodule(self.module)
        except AttributeError:
            names = ', '.join(name for name, _ in model.named_children())
            raise ValueError(
                f'CompileBackboneHook: {type(model).__name__} has no {self.module}; its modules are {names}.'
            ) from None
        if module._compiled_call_impl is None:  # compiled already when a training run validates
            module.compile(**self.options)
            runner.logger.info(f'Compiling {self.module} with {self.options["backend"]}; the first steps take longer.')


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
