"""Import of ``mmcv._ext``: the compiled extension, or the replacement of this package."""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

NAME = 'mmcv._ext'


def mmcv_folder() -> Path | None:
    """Return the folder of the installed mmcv without importing it; None if it is not installed."""
    try:
        spec = importlib.util.find_spec('mmcv')
    except (ImportError, ValueError):
        return None
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None


def find_compiled(folder: Path) -> Path | None:
    """Return the compiled extension for this Python in mmcv's folder; None if there is none."""
    return next(
        (folder / f'_ext{suffix}' for suffix in EXTENSION_SUFFIXES if (folder / f'_ext{suffix}').is_file()), None
    )


def load_compiled(path: Path) -> ModuleType:
    """Load the compiled extension from a file.

    Raises:
        ImportError: The extension was compiled for another torch.
    """
    loader = ExtensionFileLoader(NAME, str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_file_location(NAME, path, loader=loader))
    loader.exec_module(module)
    return module


class CompiledForCPU(ModuleType):
    """Compiled extension without CUDA, with the replacement for tensors on other devices than the CPU.

    Args:
        compiled (ModuleType): Compiled extension.
    """

    PROVIDER = 'mmrest+compiled'

    def __init__(self, compiled: ModuleType) -> None:
        super().__init__(NAME)
        self._compiled = compiled

    def __getattr__(self, name: str) -> Any:
        from . import extension

        value = getattr(self._compiled, name)
        if not callable(value) or name.startswith('__'):
            return value

        def choose(*args: Any, **kwargs: Any) -> Any:
            tensors = (arg for arg in (*args, *kwargs.values()) if isinstance(arg, torch.Tensor))
            on_cpu = all(tensor.device.type == 'cpu' for tensor in tensors)
            return getattr(self._compiled if on_cpu else extension, name)(*args, **kwargs)

        setattr(self, name, choose)  # cached: __getattr__() is not called again
        return choose


def provide(folder: Path | None = None) -> ModuleType:
    """Return the module to use as ``mmcv._ext``.

    Compiled operators take precedence. If torch finds a GPU, an extension compiled without CUDA is used for CPU
    tensors only.

    Args:
        folder (Path, optional): Folder of mmcv. Default: that of the installed one.
    """
    from . import extension

    folder = folder or mmcv_folder()
    path = find_compiled(folder) if folder else None
    if path is None:
        return extension
    compiled = load_compiled(path)
    if compiled.get_compiling_cuda_version() == 'not available' and torch.cuda.is_available():
        return CompiledForCPU(compiled)
    return compiled


class OperatorFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finder and loader of ``mmcv._ext``, see :func:`provide`."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Return a spec for ``mmcv._ext``, None for other modules."""
        if fullname != NAME:
            return None
        self.folder = Path(list(path)[0]) if path else None
        return importlib.util.spec_from_loader(fullname, self)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the module chosen by :func:`provide`."""
        return provide(self.folder)

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing, since the module is initialized already."""


def add_finder() -> None:
    """Make ``mmcv._ext`` importable in this process, unless mmcv's operators are imported already.

    The finder is appended to ``sys.meta_path``, so that an installed extension takes precedence. If there is a
    compiled extension, which may not support the GPU, the finder comes first. Repeated calls have no effect.
    """
    if any(isinstance(finder, OperatorFinder) for finder in sys.meta_path):
        return
    folder = mmcv_folder()
    if folder and find_compiled(folder):
        sys.meta_path.insert(0, OperatorFinder())
    else:
        sys.meta_path.append(OperatorFinder())
