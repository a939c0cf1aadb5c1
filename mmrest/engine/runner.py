"""Runner with validated data, random states that a resumed run repeats, and checkpoints that are never half written."""

from __future__ import annotations

import traceback
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import HOOKS, RUNNERS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader, IterableDataset

from ..datasets.validation import dataset_errors, validate_dataset, with_coco_checks
from .batches import require_one_size
from .data import base_datasets
from .errors import UsageError, describe_missing
from .hooks import (
    AtomicCheckpointHook,
    BatchReportHook,
    LoadReportHook,
    RandomStateHook,
    ValidatePipelineHook,
    keep_mmcv_in_float32,
)
from .launch import distribute_on_cpus
from .machine import replace_sync_bn
from .resume_checks import check_resumable, loop_class
from .seeding import SeededBatchSampler, SeededDataLoader
from .validation.signatures import find_class

PACKAGE = Path(__file__).resolve().parents[1]


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

    def build_dataloader(
        self, dataloader: DataLoader | dict, seed: int | None = None, diff_rank_seed: bool = False
    ) -> DataLoader:
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
            self.logger.warning(
                'The random state of this run cannot be restored when it is resumed: its loop or its '
                'data loader is of a kind of its own.'
            )
            return loader
        return SeededDataLoader(
            loader,
            SeededBatchSampler(
                loader.batch_sampler, self.seed, self.rank, endless=issubclass(kind, IterBasedTrainLoop)
            ),
        )

    @property
    def _checks_samples(self) -> bool:
        return self.cfg.get('check_samples', True)

    def dump_config(self) -> None:
        """Do nothing; mmengine calls this at the end of building."""

    def write_config(self) -> None:
        """Write the config into the work dir."""
        super().dump_config()


def build_runner(cfg: Config, train: bool = False) -> Runner:
    """Build the config's runner; it reports what fits whenever it loads a checkpoint.

    It is a :class:`CheckedRunner`, based on the Runner that the config names as ``runner_type``,
    if any. A runner of another kind, such as FlexibleRunner, is built as it is.

    Args:
        cfg (Config): From :func:`prepare_train` or :func:`prepare_test`.
        train (bool): Build the optimizer as well.

    Raises:
        UsageError: There is no such ``runner_type``, a package that the config needs is not installed, a part of this
            package was given an argument that it refuses, or a checkpoint that is to be resumed is from another kind
            of run.
    """
    replace_sync_bn(cfg)
    if cfg.launcher != 'none' and not torch.cuda.is_available():
        distribute_on_cpus(cfg)
    try:
        kind = find_runner(cfg)
        runner = kind.from_cfg(cfg) if kind else RUNNERS.build(cfg)
        if train and isinstance(runner, CheckedRunner):
            _build_optimizer(runner)
            if cfg.get('resume') and cfg.get('load_from') and '://' not in cfg.load_from:
                check_resumable(runner, cfg.load_from)
        if isinstance(runner, CheckedRunner):
            runner.write_config()
    except ModuleNotFoundError as error:
        raise UsageError(describe_missing('This config', error)) from error
    except ValueError as error:
        cause = error  # mmengine wraps it once for every module that is built around the one that raised it
        while cause.__context__ is not None:
            cause = cause.__context__
        if Path(traceback.extract_tb(cause.__traceback__)[-1].filename).is_relative_to(PACKAGE):
            raise UsageError(f'The config cannot be used: {cause}') from error
        raise
    except TypeError as error:
        if 'unexpected keyword argument' not in str(error):
            raise
        raise UsageError(f'The config cannot be used: {error}') from error
    # Not in the config, which the runner saves and others may run without this package.
    runner.register_hook(LoadReportHook(testing=not train))
    runner.register_hook(BatchReportHook())
    return runner


def find_runner(cfg: Config) -> type[CheckedRunner] | None:
    """Return the class to build a config's runner with, based on the one that it names as ``runner_type``.

    Args:
        cfg (Config): Whole config.

    Returns:
        type | None: None where that is no :class:`mmengine.runner.Runner`, such as FlexibleRunner.

    Raises:
        UsageError: ``runner_type`` is not registered.
    """
    kind = find_class(RUNNERS, cfg.get('runner_type', Runner), cfg.get('default_scope'))
    if kind is None:
        raise UsageError(
            f'runner_type = {cfg.runner_type!r} is not registered in RUNNERS: check its spelling, or name '
            'the module that registers it in custom_imports.'
        )
    if not isinstance(kind, type) or not issubclass(kind, Runner):
        return None
    if issubclass(CheckedRunner, kind):
        return CheckedRunner
    return kind if issubclass(kind, CheckedRunner) else type(kind.__name__, (CheckedRunner, kind), {})


def _build_optimizer(runner: Runner) -> None:
    """Build the runner's optimizer before it trains, to know of mistakes early and to mend its base_lr."""
    if (runner.cfg.get('optim_wrapper') or {}).get('dtype') == 'bfloat16':
        keep_mmcv_in_float32(runner.model)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    base = getattr(runner.optim_wrapper, 'base_param_settings', None)
    scaling = runner.cfg.get('auto_scale_lr') or {}
    if base and scaling.get('enable'):
        # mmengine scales the param groups only, and would log an unscaled base_lr beside them.
        base['lr'] *= runner.world_size * runner.cfg.train_dataloader.batch_size / scaling.base_batch_size
