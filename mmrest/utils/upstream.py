"""Compatibility with forks of OpenMMLab's libraries."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec

from mmengine.config.utils import MODULE2PACKAGE


def locate_libraries() -> None:
    """Let mmengine find inherited configs (``mmseg::...``) of libraries with other distribution names.

    mmengine expects the module ``mmseg`` in the distribution ``mmsegmentation``. OneDL's fork is distributed as
    ``onedl-mmsegmentation``, and a source checkout on ``PYTHONPATH`` has no distribution. Such modules are mapped to
    their own names in mmengine's table, which makes mmengine locate them by import.
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
