"""Which module is ``mmcv._ext``: mmcv's compiled one, or what stands in for it."""

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
    """Return the folder of the installed mmcv, without importing it; None where there is none."""
    try:
        spec = importlib.util.find_spec('mmcv')
    except (ImportError, ValueError):
        return None
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None


def find_compiled(folder: Path) -> Path | None:
    """Return mmcv's compiled extension for this Python in mmcv's folder; None where there is none."""
    return next(
        (folder / f'_ext{suffix}' for suffix in EXTENSION_SUFFIXES if (folder / f'_ext{suffix}').is_file()), None
    )


def load_compiled(path: Path) -> ModuleType:
    """Load mmcv's compiled extension from its file.

    Raises:
        ImportError: It was compiled for another torch.
    """
    loader = ExtensionFileLoader(NAME, str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_file_location(NAME, path, loader=loader))
    loader.exec_module(module)
    return module


class CompiledForCPU(ModuleType):
    """An extension that was compiled without CUDA, and stands aside for tensors elsewhere than on the CPU.

    Args:
        compiled (ModuleType): The compiled extension.
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
            elsewhere = any(tensor.device.type != 'cpu' for tensor in tensors)
            return getattr(extension if elsewhere else self._compiled, name)(*args, **kwargs)

        setattr(self, name, choose)  # from now on found without this method
        return choose


def provide(folder: Path | None = None) -> ModuleType:
    """Return the module to use as ``mmcv._ext``.

    Compiled operators are used wherever they are there and serve the device: an extension compiled without CUDA is
    asked about tensors on the CPU only, if torch sees a GPU.

    Args:
        folder (Path, optional): mmcv's; default: that of the installed one.
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
    """Finds ``mmcv._ext`` where mmcv has none, or one that does not serve the GPU that torch sees."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Return a spec for ``mmcv._ext`` and nothing else."""
        if fullname != NAME:
            return None
        self.folder = Path(list(path)[0]) if path else None
        return importlib.util.spec_from_loader(fullname, self)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the module that :func:`provide` chooses."""
        return provide(self.folder)

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: the module is ready."""


def add_finder() -> None:
    """Make ``mmcv._ext`` importable in this process, if mmcv's operators have not been imported yet.

    The finder is asked last, so that anything that is installed comes first; only beside a compiled extension it is
    asked first, since the GPU may need another one. Adding it again changes nothing.
    """
    if any(isinstance(finder, OperatorFinder) for finder in sys.meta_path):
        return
    folder = mmcv_folder()
    if folder and find_compiled(folder):
        sys.meta_path.insert(0, OperatorFinder())
    else:
        sys.meta_path.append(OperatorFinder())
