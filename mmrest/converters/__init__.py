"""Conversion of the authors' published files to checkpoints of mmdet, mmseg and mmpretrain."""

from .conversion import TARGETS, convert, convert_file
from .layouts import recognize

__all__ = ['TARGETS', 'convert', 'convert_file', 'recognize']
