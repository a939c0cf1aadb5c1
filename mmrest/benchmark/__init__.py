"""Time and memory of backbones, detectors and attention, as ratios of what is measured in turn in one run."""

from .baselines import emsa_matmul, emsa_released
from .measure import compare_times, peak_memory
from .models import BenchmarkModel, parse_model
from .report import format_table, plot_bars, plot_sweep

__all__ = [
    'BenchmarkModel',
    'compare_times',
    'emsa_matmul',
    'emsa_released',
    'format_table',
    'parse_model',
    'peak_memory',
    'plot_bars',
    'plot_sweep',
]
