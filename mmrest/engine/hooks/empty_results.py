"""Explanation of an evaluation without any result."""

from __future__ import annotations

from typing import Mapping

from mmengine.hooks import Hook
from mmengine.runner import Runner


class EmptyResultsHook(Hook):
    """Log a warning after an evaluation that gave no metrics, because the model found nothing.

    mmdet reports an error then, in words that look like those of a broken dataset.
    """

    priority = 'VERY_LOW'  # after the metrics are logged

    def after_val_epoch(self, runner: Runner, metrics: Mapping[str, float] | None = None) -> None:
        """Look at the metrics of a validation."""
        if not metrics:
            runner.logger.warning(
                'No metrics: the model has found no object yet. This is usual in the first epochs from random weights; '
                'if it stays so, see "AP or mIoU far too low" in docs/troubleshooting.md.'
            )

    def after_test_epoch(self, runner: Runner, metrics: Mapping[str, float] | None = None) -> None:
        """Look at the metrics of a test."""
        if not metrics:
            runner.logger.warning('No metrics: the model has found no object.')
