"""Drawn data set, and validation of data sets."""

from .shapes import CLASSES, ShapeImage, ShapeInstance, draw_image
from .shapes_dataset import draw_shapes, is_shapes_dataset

__all__ = ['CLASSES', 'ShapeImage', 'ShapeInstance', 'draw_image', 'draw_shapes', 'is_shapes_dataset']
