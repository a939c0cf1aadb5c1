"""Random states and places in the data of a run that can be resumed; see :mod:`mmrest.engine.seeding`."""

from __future__ import annotations

import logging
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from ..seeding import EPOCH, MODEL, SeededBatchSampler, derive_seed, set_random_state


class _Iterator:
    """What an iteration-based loop takes its batches from: the first ``skip`` times, nothing."""

    def __init__(self, loader: DataLoader, skip: int) -> None:
        self._iterator = iter(loader)
        self._skip = skip

    def __next__(self) -> Any:
        if self._skip:  # mmengine's loop asks for the batches before the one that it resumes at
            self._skip -= 1
            return None
        return next(self._iterator)

    def skip_iter(self, num_iters: int) -> None:
        """Pass over batches, as the loop of OneDL's fork of mmengine does instead of asking for each."""
        for _ in range(num_iters):
            next(self)


class RandomStateHook(Hook):
    """Makes the random state before every step of training a function of seed, rank and position.

    It also takes an iteration-based loop to the batch that it resumes at, without loading those before it.
    """

    # Before hooks that use random numbers.
    priority = 'HIGHEST'

    def before_train(self, runner: Runner) -> None:
        """Go to the batch that the run resumes at."""
        loop, batches = runner.train_loop, self._batches(runner)
        if batches is None:
            return
        batches.seed = runner.seed  # a run that is resumed may have taken it over
        if batches.endless and loop.iter > 0:
            # Workers that load ahead from the beginning end with the last reference to their iterator.
            loop.dataloader_iterator = loop.dataloader._iterator = None
            batches.seek(loop.iter)
            # A loop of OneDL's fork can be told not to ask for the batches before; what follows is the same.
            skip = 0 if getattr(loop, 'fast_forward_on_resume', False) else loop.iter
            loop.dataloader_iterator = _Iterator(loop.dataloader, skip)
            runner.logger.log(
                logging.INFO, f'Going on with batch {loop.iter + 1} of the data; those before it are not loaded again.'
            )
        elif batches.endless:
            batches.disable_seek()

    def before_train_epoch(self, runner: Runner) -> None:
        """Fix what the order of the data may be drawn from."""
        batches = self._batches(runner)
        if batches is not None and not batches.endless:
            batches.epoch = runner.epoch
        set_random_state(derive_seed(EPOCH, runner.seed, runner.rank, runner.epoch), devices=True)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Fix the random state of the model."""
        set_random_state(derive_seed(MODEL, runner.seed, runner.rank, runner.iter), devices=True)

    @staticmethod
    def _batches(runner: Runner) -> SeededBatchSampler | None:
        batches = runner.train_dataloader.batch_sampler
        return batches if isinstance(batches, SeededBatchSampler) else None
