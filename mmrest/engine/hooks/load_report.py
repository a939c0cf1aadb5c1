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
        difference = self.testing and _compare_classes(runner, checkpoint.get('meta'))
        if difference:
            runner.logger.warning(
                f'{source} was trained on other classes than those of the test_dataloader: {difference}. Metrics of '
                'classes that are not the same are wrong.'
            )


def _compare_classes(runner: Any, meta: Any) -> str:
    """Return the first difference between the classes of a checkpoint and those of the tested dataset, if any."""
    dataset = getattr(getattr(runner, 'test_dataloader', None), 'dataset', None)
    trained = ((meta if isinstance(meta, dict) else {}).get('dataset_meta') or {}).get('classes') or ()
    tested = (getattr(dataset, 'metainfo', None) or {}).get('classes') or ()
    if trained and tested and len(trained) != len(tested):
        return f'{len(trained)} instead of {len(tested)}'
    pairs = enumerate(zip(trained, tested))
    return next((f'number {i} is {one!r} instead of {other!r}' for i, (one, other) in pairs if one != other), '')
