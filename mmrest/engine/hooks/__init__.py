"""Hooks for checkpoints, reports, random states, invalid losses, compilation and precision."""

from .batch_report import BatchReportHook, describe_batch
from .checkpoint import AtomicCheckpointHook
from .compile import CompileBackboneHook
from .empty_results import EmptyResultsHook
from .initial_weights import InitialWeightsHook
from .invalid_loss import InvalidLossError, InvalidLossHook
from .load_report import LoadReportHook
from .mmcv_float32 import KeepMMCVInFloat32Hook, keep_mmcv_in_float32
from .pipeline import ValidatePipelineHook
from .random_state import RandomStateHook
from .schedule_report import ScheduleReportHook

__all__ = [
    'AtomicCheckpointHook',
    'BatchReportHook',
    'CompileBackboneHook',
    'EmptyResultsHook',
    'InitialWeightsHook',
    'InvalidLossError',
    'InvalidLossHook',
    'KeepMMCVInFloat32Hook',
    'LoadReportHook',
    'RandomStateHook',
    'ScheduleReportHook',
    'ValidatePipelineHook',
    'describe_batch',
    'keep_mmcv_in_float32',
]
