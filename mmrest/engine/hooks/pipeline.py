"""Validation of data pipelines that change during a run."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.runner import Runner

from ...datasets.validation import validate_dataset


class ValidatePipelineHook(Hook):
    """Validate a pipeline that another hook puts in between epochs, as mmdet's ``PipelineSwitchHook`` does."""

    priority = 'VERY_LOW'  # after that hook, and still before worker processes get the dataset

    def before_train_epoch(self, runner: Runner) -> None:
        validate_dataset(runner.train_dataloader.dataset)
