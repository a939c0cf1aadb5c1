from .complexity import count_attention_macs
from .curves import METRICS, plot_curves, read_scalars
from .pictures import plot_predictions

__all__ = ['METRICS', 'count_attention_macs', 'plot_curves', 'plot_predictions', 'read_scalars']
