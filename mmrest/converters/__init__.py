"""Checkpoints of the authors converted to those of mmdet, mmseg and mmpretrain, and checkpoints to share."""

from .conversion import TARGETS, convert, convert_file
from .layouts import recognize
from .publishing import publish

__all__ = ['TARGETS', 'convert', 'convert_file', 'publish', 'recognize']
