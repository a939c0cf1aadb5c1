"""Random numbers that depend on a run's seed and its position alone, so that a resumed run repeats none and skips none.

mmengine saves no state of random number generators, and gives data loading the same seeds at every start. Here, every
random state is derived anew, from numbers that a resumed run knows: before each step for the model, and before each
sample for its augmentation, wherever it is loaded. So neither the interval of checkpoints matters nor the number of
worker processes, and what workers had loaded ahead when a run was killed is loaded again.
"""
from __future__ import annotations

import itertools
import logging
import random
from functools import partial
from typing import Any, Iterator

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader, Sampler

# What a random state is for; the first number of its position.
_MODEL, _EPOCH, _DATA = range(3)


def derive_seed(*numbers: int) -> int:
    """A seed from several numbers (>= 0): 64 bits that look random, and differ for almost equal numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def set_random_state(seed: int, devices: bool = False) -> None:
    """Seed the global generators of Python, NumPy and PyTorch.

    Args:
        seed (int): 64 bits.
        devices (bool): Those of GPUs and the like as well, which takes some ten times as long as all the rest.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    if devices:
        torch.manual_seed(seed % 2**63)
    else:
        torch.default_generator.manual_seed(seed % 2**63)


class Batch(list):
    """The indices of a batch, with a seed."""

    seed: int


class PositionedBatches(Sampler):
    """Batches of indices from another sampler, each with a seed made of its position.

    Args:
        batches (Sampler): Yields lists of indices.
        seed (int): Of the run.
        rank (int): Of this process.
        endless (bool): For a loop that counts iterations: start over at the end, and let :meth:`seek` find a
            position. Else positions are counted in each epoch.
    """

    def __init__(self, batches: Any, seed: int, rank: int, endless: bool) -> None:
        self.batches = batches
        self.seed = seed
        self.rank = rank
        self.endless = endless
        self.epoch = 0
        self._position = 0
        self._source = self._start_over() if endless else None
        self._handed_out: list | None = []

    def __getattr__(self, name: str) -> Any:
        if name == 'batches':  # while it is being copied
            raise AttributeError(name)
        return getattr(self.batches, name)  # batch_size, drop_last, sampler

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        if not self.endless:
            for number, batch in enumerate(self.batches):
                yield self._with_seed(batch, number)
            return
        for batch in self._source:
            if self._handed_out is not None:
                self._handed_out.append(batch)
            self._position += 1
            yield self._with_seed(batch, self._position - 1)

    def sample_seeds(self, number: int, count: int) -> list[int]:
        """The seeds of the ``count`` samples in the batch of this number in the epoch, or in an endless run."""
        seed = derive_seed(_DATA, self.seed, self.rank, self.epoch, number)
        return [derive_seed(seed, sample) for sample in range(count)]

    def seek(self, position: int) -> None:
        """Go to a position of an endless run, counted from its beginning; to be called once, before its first step.

        Args:
            position (int): Number of batches, from the beginning, that are not to come (again).
        """
        self._source = itertools.chain(self._handed_out, self._source)
        next(itertools.islice(self._source, position, position), None)
        self._position = position
        self.settle()

    def settle(self) -> None:
        """Stop noting what is handed out: there will be no :meth:`seek`."""
        self._handed_out = None

    def _with_seed(self, batch: list, number: int) -> Batch:
        batch = Batch(batch)
        batch.seed = derive_seed(_DATA, self.seed, self.rank, self.epoch, number)
        return batch

    def _start_over(self) -> Iterator[list]:
        """The batches again and again; samplers that can be told the round are told."""
        for round_ in itertools.count():
            empty = True
            for batch in self.batches:
                empty = False
                yield batch
            if empty:
                return
            set_epoch = getattr(getattr(self.batches, 'sampler', None), 'set_epoch', None)
            if set_epoch is not None:
                set_epoch(round_ + 1)


def _load_samples(dataset: Any, batch: list) -> list:
    """The samples of a batch, each with a random state of its own; takes the place of the dataset's __getitems__."""
    several = getattr(type(dataset), '__getitems__', None)
    if not isinstance(batch, Batch):
        return several(dataset, batch) if several else [dataset[index] for index in batch]
    if several:
        set_random_state(batch.seed)
        return several(dataset, list(batch))
    samples = []
    for number, index in enumerate(batch):
        set_random_state(derive_seed(batch.seed, number))
        samples.append(dataset[index])
    return samples


def position_batches(loader: DataLoader, runner: Runner, loop: dict) -> None:
    """Have a training loader's samples depend on their positions; changes the loader.

    Args:
        loader (DataLoader): Not yet iterated over.
        runner (Runner): Whose seed and rank count.
        loop (dict): The runner's ``train_cfg``.
    """
    kind = LOOPS.get(loop['type']) if isinstance(loop.get('type'), str) else loop.get('type')
    kind = kind or (EpochBasedTrainLoop if loop.get('by_epoch') else IterBasedTrainLoop)
    known = isinstance(kind, type) and issubclass(kind, (EpochBasedTrainLoop, IterBasedTrainLoop))
    if not known or loader.batch_sampler is None or isinstance(loader.dataset, torch.utils.data.IterableDataset):
        runner.logger.warning('The random state of this run cannot be restored when it is resumed: its loop or '
                              'its data loader is of a kind of its own.')
        return
    # A DataLoader refuses to be given another sampler, but what it checks at its start holds for this one.
    loader.__dict__['batch_sampler'] = PositionedBatches(loader.batch_sampler, runner.seed, runner.rank,
                                                         issubclass(kind, IterBasedTrainLoop))
    loader.dataset.__getitems__ = partial(_load_samples, loader.dataset)


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
            runner.logger.log(logging.INFO, f'Going on with batch {loop.iter + 1} of the data; those before it are '
                              'not loaded again.')
        elif batches.endless:
            batches.settle()

    def before_train_epoch(self, runner: Runner) -> None:
        """Fix what the order of the data may be drawn from."""
        batches = self._batches(runner)
        if batches is not None and not batches.endless:
            batches.epoch = runner.epoch
        set_random_state(derive_seed(_EPOCH, runner.seed, runner.rank, runner.epoch), devices=True)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Fix the random state of the model."""
        set_random_state(derive_seed(_MODEL, runner.seed, runner.rank, runner.iter), devices=True)

    @staticmethod
    def _batches(runner: Runner) -> PositionedBatches | None:
        batches = runner.train_dataloader.batch_sampler
        return batches if isinstance(batches, PositionedBatches) else None
