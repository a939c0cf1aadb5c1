"""Benchmarks of time and memory for backbones, detectors and attention; the models of a run are timed in turn."""

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
