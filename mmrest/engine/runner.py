"""Runner with validated data, random states that a resumed run repeats, and checkpoints that are never half written."""
from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from mmengine.config import Config
from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import HOOKS, RUNNERS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader, IterableDataset

from ..datasets.validation import dataset_errors, validate_dataset, with_coco_checks
from .batches import require_one_size
from .data import base_datasets
from .hooks import AtomicCheckpointHook, RandomStateHook, ValidatePipelineHook
from .resume_checks import loop_class
from .seeding import SeededBatchSampler, SeededDataLoader
from .validation.signatures import find_class


@RUNNERS.register_module()
class CheckedRunner(Runner):
    """mmengine's runner, with data validated as they are read, seeded batches and atomic checkpoints.

    * Files that cannot be used are named before they are used (``check_samples = False`` in the config turns that off).
    * The random numbers of a run that is resumed are those of one that was never interrupted.
    * Checkpoints are there whole or not at all: :class:`AtomicCheckpointHook` stands in for mmengine's CheckpointHook.
    * The work dir stays as it is until :meth:`write_config`: the config of a run that is resumed may lie there, and
      whether this one goes with its checkpoint is known only when model and optimizer are built.

    The config stays as it is, so that others can run it without this package: :func:`build_runner` chooses this class.
    """

    def register_hooks(self, default_hooks: dict | None = None, custom_hooks: list | None = None) -> None:
        """Register the config's hooks and those that every run has."""
        super().register_hooks(default_hooks, custom_hooks)
        if self._checks_samples:
            self.register_hook(ValidatePipelineHook())
        self.register_hook(RandomStateHook())

    def register_hook(self, hook: Hook | dict, priority: Any = None) -> None:
        """Register a hook; a config of mmengine's CheckpointHook makes an :class:`AtomicCheckpointHook`."""
        if isinstance(hook, dict) and find_class(HOOKS, hook.get('type'), hook.get('_scope_')) is CheckpointHook:
            hook = dict(hook, type=AtomicCheckpointHook)
        super().register_hook(hook, priority)

    def build_dataloader(self, dataloader: DataLoader | dict, seed: int | None = None,
                         diff_rank_seed: bool = False) -> DataLoader:
        """Build a data loader of this run from its config, as loops do; a built one is left alone.

        Raises:
            DataError: Its annotations or images cannot be used.
        """
        if isinstance(dataloader, DataLoader):
            return dataloader
        config, errors = dataloader, nullcontext()
        if self._checks_samples:
            config, errors = with_coco_checks(dataloader), dataset_errors(list(base_datasets(dataloader)))
        with errors:
            loader = super().build_dataloader(config, seed=seed, diff_rank_seed=diff_rank_seed)
        if self._checks_samples:
            validate_dataset(loader.dataset)
            require_one_size(loader, self, dataloader)
        return self._seed_batches(loader) if dataloader is self._train_dataloader else loader

    def _seed_batches(self, loader: DataLoader) -> DataLoader:
        """Return a training loader whose samples depend on their positions."""
        kind = loop_class(self._train_loop, self.cfg.get('default_scope'))
        known = kind is not None and issubclass(kind, (EpochBasedTrainLoop, IterBasedTrainLoop))
        if not known or loader.batch_sampler is None or isinstance(loader.dataset, IterableDataset):
            self.logger.warning('The random state of this run cannot be restored when it is resumed: its loop or its '
                                'data loader is of a kind of its own.')
            return loader
        return SeededDataLoader(loader, SeededBatchSampler(loader.batch_sampler, self.seed, self.rank,
                                                           endless=issubclass(kind, IterBasedTrainLoop)))

    @property
    def _checks_samples(self) -> bool:
        return self.cfg.get('check_samples', True)

    def dump_config(self) -> None:
        """Do nothing; mmengine calls this at the end of building."""

    def write_config(self) -> None:
        """Write the config into the work dir."""
        super().dump_config()


def runner_class(cfg: Config) -> type[CheckedRunner] | None:
    """Return the class of a config's runner.

    Args:
        cfg (Config): Whole config. A Runner that it names as ``runner_type`` is the base of what is returned.

    Returns:
        type | None: None for one that is no :class:`mmengine.runner.Runner`, such as FlexibleRunner, and for a name
        that is not registered.
    """
    kind = find_class(RUNNERS, cfg.get('runner_type', Runner), cfg.get('default_scope'))
    if not isinstance(kind, type) or not issubclass(kind, Runner):
        return None
    if issubclass(CheckedRunner, kind):
        return CheckedRunner
    return kind if issubclass(kind, CheckedRunner) else type(kind.__name__, (CheckedRunner, kind), {})
