"""Pictures of data sets and predictions: browsing, painting of images and videos, and images for TensorBoard."""

from .browse import browse_dataset
from .comparison import plot_predictions
from .files import PaintResult
from .hook import PaintValidationHook
from .painting import Canvas
from .predictions import paint_predictions
from .samples import draw_sample

__all__ = [
    'Canvas',
    'PaintResult',
    'PaintValidationHook',
    'browse_dataset',
    'draw_sample',
    'paint_predictions',
    'plot_predictions',
]
