"""Runner with data validation, reproducible resuming and atomic checkpoints."""

from __future__ import annotations

import logging
import shutil
import traceback
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import HOOKS, RUNNERS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader, IterableDataset

from ..checkpoints.loading import inner_model
from ..datasets.validation import dataset_errors, validate_dataset, with_coco_checks
from ..ops.processor import describe_choices
from .batches import check_image_sizes
from .console import only_in_files
from .data import base_datasets
from .devices import computes_in_bfloat16, replace_sync_bn
from .errors import UsageError, describe_missing
from .hooks import (
    AtomicCheckpointHook,
    BatchReportHook,
    EmptyResultsHook,
    InitialWeightsHook,
    LoadReportHook,
    RandomStateHook,
    ScheduleReportHook,
    ValidatePipelineHook,
    keep_mmcv_in_float32,
)
from .launch import distribute_on_cpus
from .resume_checks import check_resumable, loop_class
from .seeding import SeededBatchSampler, SeededDataLoader
from .validation.optimizers import find_unmatched_keys
from .validation.signatures import find_class

PACKAGE = Path(__file__).resolve().parents[1]


@RUNNERS.register_module()
class CheckedRunner(Runner):
    """mmengine's runner with data validation, seeded batches and atomic checkpoints.

    * Invalid files raise an error that names them (``check_samples = False`` in the config turns this off).
    * A resumed run draws the same random numbers as an uninterrupted one.
    * Checkpoints are written atomically: :class:`AtomicCheckpointHook` replaces mmengine's CheckpointHook.
    * The config in the work dir is not overwritten before :meth:`write_config`: a resumed run is compared with its
      checkpoint first, which needs the model and the optimizer.
    * A run that fails while it is built leaves no log folder.

    The config is not changed, so that it also works without this package: :func:`build_runner` chooses this class.
    """

    def __init__(self, *args, **kwargs) -> None:
        try:
            super().__init__(*args, **kwargs)
        except Exception:
            self.remove_logs()
            raise
        # A run that is resumed on another processor can be given the same choices.
        self.logger.info(describe_choices())

    def remove_logs(self) -> None:
        """Delete the log folder of a run that did not start, and its work dir if that is empty."""
        folder = getattr(self, '_log_dir', None)
        if folder is None or not is_main_process():
            return
        logger = getattr(self, 'logger', None)
        for handler in list(logger.handlers) if logger else ():
            if isinstance(handler, logging.FileHandler):
                handler.close()
                logger.removeHandler(handler)
        # mmengine registers both globally by name; another run in this process would write into the deleted folder.
        for instance in (logger, getattr(self, 'visualizer', None)):
            for cls in type(instance).__mro__:
                registered = vars(cls).get('_instance_dict', {})
                for name in [name for name, each in registered.items() if each is instance]:
                    del registered[name]
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # not empty
            Path(self.work_dir).rmdir()

    def register_hooks(self, default_hooks: dict | None = None, custom_hooks: list | None = None) -> None:
        """Register the hooks of the config and those of every run."""
        super().register_hooks(default_hooks, custom_hooks)
        if self._checks_samples:
            self.register_hook(ValidatePipelineHook())
        self.register_hook(RandomStateHook())

    def register_hook(self, hook: Hook | dict, priority: Any = None) -> None:
        """Register a hook; CheckpointHook in a config is replaced by :class:`AtomicCheckpointHook`."""
        if isinstance(hook, dict) and find_class(HOOKS, hook.get('type'), hook.get('_scope_')) is CheckpointHook:
            hook = dict(hook, type=AtomicCheckpointHook)
        super().register_hook(hook, priority)

    def build_dataloader(
        self, dataloader: DataLoader | dict, seed: int | None = None, diff_rank_seed: bool = False
    ) -> DataLoader:
        """Build a data loader with validated datasets and, for training, seeded batches.

        Args:
            dataloader (DataLoader | dict): Config; an instance is returned unchanged.
            seed (int, optional): Seed of the sampler and the workers.
            diff_rank_seed (bool): Use a different seed in each process.

        Raises:
            DataError: Annotations or images are invalid.
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
            check_image_sizes(loader, self, dataloader)
        return self._seed_batches(loader) if dataloader is self._train_dataloader else loader

    def _seed_batches(self, loader: DataLoader) -> DataLoader:
        """Return a training loader with a :class:`SeededBatchSampler`, if loop and loader support it."""
        kind = loop_class(self._train_loop, self.cfg.get('default_scope'))
        known = kind is not None and issubclass(kind, (EpochBasedTrainLoop, IterBasedTrainLoop))
        if not known or loader.batch_sampler is None or isinstance(loader.dataset, IterableDataset):
            self.logger.warning(
                'The random state of this run cannot be restored when it is resumed: its training loop or '
                'its data loader is a custom one.'
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
        """Do nothing when mmengine calls this during construction; see :meth:`write_config`."""

    def write_config(self) -> None:
        """Write the config into the work dir."""
        super().dump_config()


def build_runner(cfg: Config, train: bool = False) -> Runner:
    """Build the runner of a config, with a report whenever it loads a checkpoint.

    The runner is a :class:`CheckedRunner`, derived from the ``runner_type`` of the config if that is a Runner. Other
    runners, such as FlexibleRunner, are built unchanged.

    Args:
        cfg (Config): Config from :func:`prepare_train` or :func:`prepare_test`.
        train (bool): Build the optimizer as well.

    Raises:
        UsageError: ``runner_type`` is unknown, a package is not installed, an argument is invalid, or the checkpoint
            to resume does not match the config.
    """
    replace_sync_bn(cfg)
    if cfg.launcher != 'none' and not torch.cuda.is_available():
        distribute_on_cpus(cfg)
    try:
        kind = find_runner(cfg)
        runner = kind.from_cfg(cfg) if kind else RUNNERS.build(cfg)
        if isinstance(runner, CheckedRunner):
            try:
                if computes_in_bfloat16(cfg, train):
                    keep_mmcv_in_float32(runner.model)
                if train:
                    _build_optimizer(runner)
                if train and cfg.get('resume') and cfg.get('load_from') and '://' not in cfg.load_from:
                    check_resumable(runner, cfg.load_from)
            except Exception:
                runner.remove_logs()
                raise
            runner.write_config()
    except ModuleNotFoundError as error:
        raise UsageError(describe_missing('This config', error)) from error
    except ValueError as error:
        cause = error  # mmengine wraps the error once for every enclosing module
        while cause.__context__ is not None:
            cause = cause.__context__
        if Path(traceback.extract_tb(cause.__traceback__)[-1].filename).is_relative_to(PACKAGE):
            raise UsageError(f'The config cannot be used: {cause}') from error
        raise
    except TypeError as error:
        if 'unexpected keyword argument' not in str(error):
            raise
        raise UsageError(f'The config cannot be used: {error}') from error
    # Not in the config, which also has to work without this package.
    runner.register_hook(LoadReportHook(testing=not train))
    runner.register_hook(BatchReportHook())
    runner.register_hook(EmptyResultsHook())
    if train:
        runner.register_hook(ScheduleReportHook())
        runner.register_hook(InitialWeightsHook())
    return runner


def find_runner(cfg: Config) -> type[CheckedRunner] | None:
    """Return the runner class of a config: :class:`CheckedRunner`, derived from its ``runner_type`` if given.

    Args:
        cfg (Config): Full config.

    Returns:
        type | None: None if ``runner_type`` is not a :class:`mmengine.runner.Runner`, such as FlexibleRunner.

    Raises:
        UsageError: ``runner_type`` is not registered.
    """
    kind = find_class(RUNNERS, cfg.get('runner_type', Runner), cfg.get('default_scope'))
    if kind is None:
        raise UsageError(
            f'runner_type = {cfg.runner_type!r} is not registered in RUNNERS: check the spelling, or add '
            'the module that registers it to custom_imports.'
        )
    if not isinstance(kind, type) or not issubclass(kind, Runner):
        return None
    if issubclass(CheckedRunner, kind):
        return CheckedRunner
    return kind if issubclass(kind, CheckedRunner) else type(kind.__name__, (CheckedRunner, kind), {})


def _build_optimizer(runner: Runner) -> None:
    """Build the optimizer before training, to report mistakes early and to correct its logged base_lr."""
    unmatched = find_unmatched_keys(runner.cfg.get('optim_wrapper'), inner_model(runner.model))
    if unmatched:
        runner.logger.warning(
            f'No parameter name contains {", ".join(map(repr, unmatched))} of '
            'optim_wrapper.paramwise_cfg.custom_keys: the settings have no effect. Check the spelling.'
        )
    summary = '{} lines about paramwise_options, one for each setting of a parameter, are in the log file only.'
    with only_in_files(runner.logger, 'paramwise_options --', summary):
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    base = getattr(runner.optim_wrapper, 'base_param_settings', None)
    scaling = runner.cfg.get('auto_scale_lr') or {}
    if base and scaling.get('enable'):
        # mmengine scales the parameter groups only, and would log the unscaled base_lr.
        base['lr'] *= runner.world_size * runner.cfg.train_dataloader.batch_size / scaling.base_batch_size
