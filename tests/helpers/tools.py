"""The command-line tools, which are no package, as modules."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

from conftest import REPO

TOOLS = REPO / 'tools'


def load_tool(name: str) -> ModuleType:
    """Load a file of tools/ under its own name, by which the other tools import it."""
    spec = importlib.util.spec_from_file_location(name, TOOLS / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
