"""Data loaders of a run: files that cannot be used are named, and training data do not depend on interruptions."""
from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from ..datasets.validation import dataset_errors, validate_dataset, with_coco_checks
from ..hooks import position_batches
from .batches import require_one_size
from .data import base_datasets


def validate_loaders(runner: Runner, check: bool = True) -> None:
    """Validate the data of every loader that the runner is going to build from its config.

    Args:
        runner (Runner): Before it trains or tests; its config stays as it is.
        check (bool): Check annotations and samples; see :mod:`mmrest.datasets.validation`.
    """
    build = runner.build_dataloader

    def build_validated(dataloader: Any, seed: int | None = None, diff_rank_seed: bool = False) -> DataLoader:
        if isinstance(dataloader, DataLoader):
            return dataloader
        if check:
            with dataset_errors(list(base_datasets(dataloader))):
                loader = build(with_coco_checks(dataloader), seed=seed, diff_rank_seed=diff_rank_seed)
            validate_dataset(loader.dataset)
            require_one_size(loader, runner, dataloader)
        else:
            loader = build(dataloader, seed=seed, diff_rank_seed=diff_rank_seed)
        if dataloader is runner._train_dataloader:
            position_batches(loader, runner, runner._train_loop)
        return loader

    runner.build_dataloader = build_validated
    if check:
        runner.register_hook(_SwitchedPipelineHook())


class _SwitchedPipelineHook(Hook):
    """Validate a pipeline that another hook puts in between epochs, as mmdet's ``PipelineSwitchHook`` does."""
    priority = 'VERY_LOW'  # after that hook, and still before worker processes get the dataset

    def before_train_epoch(self, runner: Runner) -> None:
        validate_dataset(runner.train_dataloader.dataset)
