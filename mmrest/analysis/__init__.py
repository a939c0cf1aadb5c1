from .curves import plot_curves, read_scalars
from .pictures import plot_predictions

__all__ = ['plot_curves', 'plot_predictions', 'read_scalars']
