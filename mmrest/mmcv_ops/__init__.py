"""Operators of mmcv without its compiled extension, based on torchvision and PyTorch.

The Python code of mmcv calls functions of the compiled module ``mmcv._ext``. :mod:`.extension` implements those used
by mmdet, mmsegmentation and mmpretrain, on all devices supported by torch and torchvision. Importing mmrest adds a
finder for ``mmcv._ext``. For programs that import mmcv's operators first, ``python -m mmrest.mmcv_ops --install``
writes a file with one line into the installed mmcv. Compiled operators take precedence if they support the device.

This is the only part of the package that modifies the behavior of an upstream library.
"""

from .common import UnsupportedOpError
from .files import install, remove, status
from .finder import add_finder, provide

__all__ = ['UnsupportedOpError', 'add_finder', 'install', 'provide', 'remove', 'status']
