"""Validation of data pipelines that are replaced during training."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.runner import Runner

from ...datasets.validation import validate_dataset


class ValidatePipelineHook(Hook):
    """Validate the pipeline again after hooks such as mmdet's ``PipelineSwitchHook`` have replaced it."""

    priority = 'VERY_LOW'  # after that hook, but before worker processes are started

    def before_train_epoch(self, runner: Runner) -> None:
        validate_dataset(runner.train_dataloader.dataset)
