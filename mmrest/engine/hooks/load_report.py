"""Report of what a runner loads."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from ...checkpoints.loading import compare_state_dict, inner_model, unwrap_state_dict
from ...checkpoints.safe import drop_python


@HOOKS.register_module()
class LoadReportHook(Hook):
    """Reports, when a runner loads a checkpoint, what of it fits the model; stops if next to nothing does.

    It also unwraps files that keep their weights elsewhere than under ``state_dict``.

    Args:
        testing (bool): Stop, too, if a head gets nothing. Default: False.
    """

    # Before hooks that read checkpoint['state_dict'], such as EMAHook.
    priority = 'VERY_HIGH'

    def __init__(self, testing: bool = False) -> None:
        self.testing = testing

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Called by mmengine between reading the file and filling the model."""
        source = str(runner._load_from or 'the latest checkpoint')
        drop_python(checkpoint)  # loaders that a project of one's own registers leave it
        checkpoint['state_dict'] = unwrap_state_dict(checkpoint, source)
        compare_state_dict(inner_model(runner.model), checkpoint['state_dict'], source).check(self.testing)
