from .complexity import count_attention_macs
from .curves import plot_curves, read_scalars
from .pictures import plot_predictions

__all__ = ['count_attention_macs', 'plot_curves', 'plot_predictions', 'read_scalars']
