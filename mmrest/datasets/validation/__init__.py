"""Validation of datasets, before and during a run."""

from .building import dataset_errors, validate_dataset, with_coco_checks
from .classes import find_mixed_classes, find_wrong_classes
from .configs import nested_datasets, nested_metrics
from .consistency import find_inconsistencies
from .evaluators import find_wrong_evaluators
from .heads import find_wrong_heads
from .report import SWITCH, DataError, Report

__all__ = [
    'SWITCH',
    'DataError',
    'Report',
    'dataset_errors',
    'find_inconsistencies',
    'find_mixed_classes',
    'find_wrong_classes',
    'find_wrong_evaluators',
    'find_wrong_heads',
    'nested_datasets',
    'nested_metrics',
    'validate_dataset',
    'with_coco_checks',
]
