"""Random states and data position of a resumed run, see :mod:`mmrest.engine.seeding`."""

from __future__ import annotations

import logging
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from ..seeding import EPOCH, MODEL, SeededBatchSampler, derive_seed, set_random_state


class _SkippingIterator:
    """Data loader iterator for an iteration-based loop that returns None for the first ``skip`` batches."""

    def __init__(self, loader: DataLoader, skip: int) -> None:
        self._iterator = iter(loader)
        self._skip = skip

    def __next__(self) -> Any:
        if self._skip:  # mmengine's loop fetches all batches before the position that it resumes at
            self._skip -= 1
            return None
        return next(self._iterator)

    def skip_iter(self, num_iters: int) -> None:
        """Skip batches; called by the loop of OneDL's fork of mmengine."""
        for _ in range(num_iters):
            next(self)


class RandomStateHook(Hook):
    """Set the random state before every training step, derived from seed, rank and position.

    It also makes a resumed iteration-based loop continue at its batch without loading the previous ones.
    """

    # Runs before hooks that use random numbers.
    priority = 'HIGHEST'

    def before_train(self, runner: Runner) -> None:
        """Seek to the batch that the run resumes at."""
        loop, batches = runner.train_loop, self._batches(runner)
        if batches is None:
            return
        batches.seed = runner.seed  # resuming may have changed it
        if batches.endless and loop.iter > 0:
            # Deleting all references to the iterator stops the workers, which prefetch from the first batch.
            loop.dataloader_iterator = loop.dataloader._iterator = None
            batches.seek(loop.iter)
            # With this option of OneDL's fork, the loop does not fetch the previous batches.
            skip = 0 if getattr(loop, 'fast_forward_on_resume', False) else loop.iter
            loop.dataloader_iterator = _SkippingIterator(loop.dataloader, skip)
            runner.logger.log(
                logging.INFO, f'Continuing with batch {loop.iter + 1} of the data; previous batches are not loaded.'
            )
        elif batches.endless:
            batches.disable_seek()

    def before_train_epoch(self, runner: Runner) -> None:
        """Set the random state of the epoch, which may determine the order of the data."""
        batches = self._batches(runner)
        if batches is not None and not batches.endless:
            batches.epoch = runner.epoch
        set_random_state(derive_seed(EPOCH, runner.seed, runner.rank, runner.epoch), devices=True)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Set the random state of the model."""
        set_random_state(derive_seed(MODEL, runner.seed, runner.rank, runner.iter), devices=True)

    @staticmethod
    def _batches(runner: Runner) -> SeededBatchSampler | None:
        batches = runner.train_dataloader.batch_sampler
        return batches if isinstance(batches, SeededBatchSampler) else None
