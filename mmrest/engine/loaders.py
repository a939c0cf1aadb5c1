"""Data loaders of a run: files that cannot be used are named, and training data do not depend on interruptions."""
from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from ..datasets.guard import data_errors, guard_dataset
from ..hooks import position_batches
from .batches import require_one_size
from .data import base_datasets


def guard_loaders(runner: Runner, check: bool = True) -> None:
    """Guard every data loader that the runner is going to build from its config.

    Args:
        runner (Runner): Before it trains or tests; its config stays as it is.
        check (bool): Check annotations and samples; see :mod:`mmrest.datasets.guard`.
    """
    build = runner.build_dataloader

    def build_guarded(dataloader: Any, seed: int | None = None, diff_rank_seed: bool = False) -> DataLoader:
        if isinstance(dataloader, DataLoader):
            return dataloader
        with data_errors(list(base_datasets(dataloader)) if check else []):
            loader = build(dataloader, seed=seed, diff_rank_seed=diff_rank_seed)
        if check:
            guard_dataset(loader.dataset)
            require_one_size(loader, runner, dataloader)
        if dataloader is runner._train_dataloader:
            position_batches(loader, runner, runner._train_loop)
        return loader

    runner.build_dataloader = build_guarded
    if check:
        runner.register_hook(_SwitchedPipelineHook())


class _SwitchedPipelineHook(Hook):
    """Guards a pipeline that another hook puts in between epochs, as mmdet's ``PipelineSwitchHook`` does."""
    priority = 'VERY_LOW'  # after that hook, and still before worker processes get the dataset

    def before_train_epoch(self, runner: Runner) -> None:
        guard_dataset(runner.train_dataloader.dataset)
