"""Costs of models, training curves, and the figures of the papers: spectra, similarity of heads, receptive fields."""

from .complexity import count_attention_macs
from .curves import METRICS, chart_curves, compare_curves, plot_comparison, plot_curves, read_scalars

__all__ = [
    'METRICS',
    'chart_curves',
    'compare_curves',
    'count_attention_macs',
    'plot_comparison',
    'plot_curves',
    'read_scalars',
]
