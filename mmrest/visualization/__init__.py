from .browse import browse_dataset
from .files import Painted
from .painting import Painting
from .predictions import paint_predictions
from .samples import draw_sample
from .validation import PaintValidationHook

__all__ = ['Painted', 'Painting', 'PaintValidationHook', 'browse_dataset', 'draw_sample', 'paint_predictions']
