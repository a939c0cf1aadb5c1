"""Pictures of data sets and predictions: browsing, painting of images and videos, TensorBoard, reports of tests."""

from .browse import browse_dataset
from .comparison import plot_predictions
from .files import PaintResult
from .hook import PaintValidationHook
from .painting import Canvas
from .predictions import paint_predictions
from .report import ReportHook, describe_test, write_report
from .samples import draw_sample

__all__ = [
    'Canvas',
    'PaintResult',
    'PaintValidationHook',
    'ReportHook',
    'browse_dataset',
    'describe_test',
    'draw_sample',
    'paint_predictions',
    'plot_predictions',
    'write_report',
]
