"""Hook that compiles the backbone of a model."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from ...checkpoints.loading import inner_model


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
