"""mmcv's operators without its compiled extension, on torchvision's operators and plain PyTorch.

mmcv's Python files call the functions of ``mmcv._ext``, which has to be compiled. :mod:`.extension` has those that
mmdet, mmsegmentation and mmpretrain call, on every device that torch and torchvision run on. Importing mmrest adds a
finder for ``mmcv._ext`` to the process; ``python -m mmrest.mmcv_ops --install`` writes one line into the installed mmcv
for programs that import mmcv's operators first. Operators that are compiled come first, wherever they serve the device.

This is the one place where the package interposes itself on an upstream library.
"""

from .common import UnsupportedOpError
from .files import install, remove, status
from .finder import add_finder, provide

__all__ = ['UnsupportedOpError', 'add_finder', 'install', 'provide', 'remove', 'status']
