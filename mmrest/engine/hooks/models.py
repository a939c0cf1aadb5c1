"""Hooks for configs that are run by other projects' tools: a compiled backbone, and bfloat16 beside mmcv."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch import Tensor, nn

from ...checkpoints.loading import inner_model


def keep_mmcv_in_float32(model: nn.Module) -> None:
    """Let a detector train in bfloat16 though operators of mmcv have no kernels for it: these get float32.

    They are RoIAlign in mmdet's RoI extractors, and focal loss and the suppression of boxes after its dense
    heads. PyTorch's autocast does not know them. On a CPU some have none for float16 either.

    Args:
        model (nn.Module): Gets hooks at the modules' forward passes.
    """
    for module in model.modules():
        names = {parent.__name__ for parent in type(module).__mro__}
        if 'BaseRoIExtractor' in names:
            module.register_forward_pre_hook(_widen_inputs)
        elif 'BaseDenseHead' in names:
            module.register_forward_hook(_widen_outputs)


# Not lambdas: a model with hooks on it can be pickled.
def _widen_inputs(module: nn.Module, args: Any) -> Any:
    return _to_float32(args)


def _widen_outputs(module: nn.Module, args: Any, outputs: Any) -> Any:
    return _to_float32(outputs)


def _to_float32(value: Any) -> Any:
    """A nest of tuples and lists with its bfloat16 tensors, on CPUs its float16 ones too, in float32."""
    if isinstance(value, Tensor):
        lacking = value.dtype == torch.bfloat16 or value.dtype == torch.float16 and value.device.type == 'cpu'
        return value.float() if lacking else value
    return type(value)(map(_to_float32, value)) if isinstance(value, (tuple, list)) else value


@HOOKS.register_module()
class CompileBackboneHook(Hook):
    """Compiles a model's backbone with ``torch.compile`` when a run begins; necks, heads and losses stay as they are.

    mmengine's own ``compile=True`` compiles the whole training step, of which the heads are full of Python that
    depends on the data. The backbone is compiled in place (``nn.Module.compile``): parameters keep their names, so
    checkpoints are those of the model without this hook, either way.

    Args:
        module (str): Dotted name of the part to compile. Default: 'backbone'.
        backend (str): As in :func:`torch.compile`. 'inductor' (default) needs a C++ compiler, on GPUs Triton.
        mode (str, optional): As in :func:`torch.compile`, for 'inductor': 'reduce-overhead' or 'max-autotune'.
        dynamic (bool, optional): False (default): each size of images is compiled for itself, and from the
            ninth on (``torch._dynamo.config.recompile_limit``) runs uncompiled. True: sizes are symbolic; None:
            from the second on. Inductor of torch 2.13 fails at symbolic sizes on CPUs, with 'cannot determine
            truth value of Relational'.
        fullgraph (bool): Raise where the graph breaks instead of going on in Python. Default: False.

    Raises:
        ValueError: When the run begins: the model has no such part.

    Examples:
        >>> custom_hooks = [dict(type='CompileBackboneHook')]
    """

    # After hooks that copy the model, such as EMAHook: copies are not compiled.
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
        """Compile where a run only validates."""
        self._compile(runner)

    def before_test(self, runner: Any) -> None:
        """Compile before testing."""
        self._compile(runner)

    def _compile(self, runner: Any) -> None:
        model = inner_model(runner.model)
        try:
            part = model.get_submodule(self.module)
        except AttributeError:
            names = ', '.join(name for name, _ in model.named_children())
            raise ValueError(
                f'CompileBackboneHook: {type(model).__name__} has no {self.module}; its parts are {names}.'
            ) from None
        if part._compiled_call_impl is None:  # not again when a training run validates
            part.compile(**self.options)
            runner.logger.info(f'{self.module} is compiled by {self.options["backend"]}; the first steps take longer.')


@HOOKS.register_module()
class KeepMMCVInFloat32Hook(Hook):
    """Lets a detector train in bfloat16 where operators of mmcv have no kernels for it.

    They are given float32, see :func:`keep_mmcv_in_float32`. The tools of this package do so
    themselves; with those of mmdet, name this hook beside ``optim_wrapper=dict(type='AmpOptimWrapper',
    dtype='bfloat16')``.

    Examples:
        >>> custom_hooks = [dict(type='KeepMMCVInFloat32Hook')]
    """

    def before_train(self, runner: Any) -> None:
        """Set the model up; validation and testing are not in bfloat16."""
        keep_mmcv_in_float32(inner_model(runner.model))
