"""Report of checkpoints loaded by a runner."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from ...checkpoints.loading import compare_state_dict, inner_model, unwrap_state_dict
from ...checkpoints.safe import drop_meta_config


@HOOKS.register_module()
class LoadReportHook(Hook):
    """Log which keys of a loaded checkpoint match the model; raise if hardly any do.

    Checkpoints that store their weights under a key other than ``state_dict`` are unwrapped.

    Args:
        testing (bool): Raise as well if parameters of the model are missing. Default: False.
    """

    # Runs before hooks that read checkpoint['state_dict'], such as EMAHook.
    priority = 'VERY_HIGH'

    def __init__(self, testing: bool = False) -> None:
        self.testing = testing

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Check a checkpoint before its weights are loaded into the model."""
        source = str(runner._load_from or 'the latest checkpoint')
        drop_meta_config(checkpoint)  # custom checkpoint loaders may keep it
        checkpoint['state_dict'] = unwrap_state_dict(checkpoint, source)
        compare_state_dict(inner_model(runner.model), checkpoint['state_dict'], source).check(self.testing)
