"""Differences between OpenMMLab's libraries and forks of them that kept the import names."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec

from mmengine.config.utils import MODULE2PACKAGE


def locate_libraries() -> None:
    """Let mmengine find a library's configs, as in ``mmseg::...``, where the distribution has another name.

    mmengine's table says that module ``mmseg`` comes in the distribution ``mmsegmentation``. OneDL's fork comes in
    ``onedl-mmsegmentation``, and a source checkout on ``PYTHONPATH`` in none. Under the module's own name, which other
    entries of the table have, mmengine looks for the module where Python imports it from.
    """
    for module, package in MODULE2PACKAGE.items():
        if package != module and not _is_distributed(package) and find_spec(module) is not None:
            MODULE2PACKAGE[module] = module


def _is_distributed(package: str) -> bool:
    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True
