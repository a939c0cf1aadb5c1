"""Hooks for checkpoints, reports, initial weights, random states, invalid losses, compilation and precision."""

from .batch_report import BatchReportHook, describe_batch
from .checkpoint import AtomicCheckpointHook
from .compile import CompileBackboneHook
from .initial_weights import InitialWeightsHook
from .invalid_loss import InvalidLossError, InvalidLossHook
from .load_report import LoadReportHook
from .mmcv_float32 import KeepMMCVInFloat32Hook, keep_mmcv_in_float32
from .pipeline import ValidatePipelineHook
from .random_state import RandomStateHook

__all__ = [
    'AtomicCheckpointHook',
    'BatchReportHook',
    'CompileBackboneHook',
    'InitialWeightsHook',
    'InvalidLossError',
    'InvalidLossHook',
    'KeepMMCVInFloat32Hook',
    'LoadReportHook',
    'RandomStateHook',
    'ValidatePipelineHook',
    'describe_batch',
    'keep_mmcv_in_float32',
]
