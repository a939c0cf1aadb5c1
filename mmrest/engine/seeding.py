"""Random numbers that depend on a run's seed and its position alone, so that a resumed run repeats none and skips none.

mmengine saves no state of random number generators, and gives data loading the same seeds at every start. Here, every
random state is derived anew, from numbers that a resumed run knows: before each step for the model, and before each
sample for its augmentation, wherever it is loaded. So neither the interval of checkpoints matters nor the number of
worker processes, and what workers had loaded ahead when a run was killed is loaded again.
"""

from __future__ import annotations

import inspect
import itertools
import random
from typing import Any, Iterable, Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

# First number of a position: the purpose of the random state.
MODEL, EPOCH, DATA = range(3)


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


class SeededBatch(list):
    """Indices of a batch that seed the global generators, each before it is handed out.

    A data loader loads a sample as soon as it takes its index, in whichever process, so each sample has a random state
    of its own. Indexing, slicing, pickling and copying seed nothing.

    Args:
        indices (Iterable[int]): Indices of samples.
        seed (int): 64 bits.
    """

    def __init__(self, indices: Iterable[int], seed: int) -> None:
        super().__init__(indices)
        self.seed = seed

    def __iter__(self) -> Iterator[int]:
        for number, index in enumerate(super().__iter__()):
            set_random_state(derive_seed(self.seed, number))
            yield index

    def __reduce__(self) -> tuple:
        return type(self), (self[:], self.seed)


class SeededBatchSampler(Sampler):
    """Batches of indices from another sampler, each with a seed made of its position.

    Args:
        batch_sampler (Sampler): Yields lists of indices.
        seed (int): Of the run.
        rank (int): Of this process.
        endless (bool): For a loop that counts iterations: start over at the end, and let :meth:`seek` find a
            position. Else positions are counted in each epoch.
    """

    def __init__(self, batch_sampler: Any, seed: int, rank: int, endless: bool) -> None:
        self.batch_sampler = batch_sampler
        self.seed = seed
        self.rank = rank
        self.endless = endless
        self.epoch = 0
        self._position = 0
        self._source = self._start_over() if endless else None
        self._handed_out: list | None = []

    def __getattr__(self, name: str) -> Any:
        if name == 'batch_sampler':  # while it is being copied
            raise AttributeError(name)
        return getattr(self.batch_sampler, name)  # batch_size, drop_last, sampler

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[SeededBatch]:
        if not self.endless:
            for number, batch in enumerate(self.batch_sampler):
                yield self._with_seed(batch, number)
            return
        for batch in self._source:
            if self._handed_out is not None:
                self._handed_out.append(batch)
            self._position += 1
            yield self._with_seed(batch, self._position - 1)

    def sample_seeds(self, number: int, count: int) -> list[int]:
        """The seeds of the ``count`` samples in the batch of this number in the epoch, or in an endless run."""
        seed = derive_seed(DATA, self.seed, self.rank, self.epoch, number)
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

    def _with_seed(self, batch: Iterable[int], number: int) -> SeededBatch:
        return SeededBatch(batch, derive_seed(DATA, self.seed, self.rank, self.epoch, number))

    def _start_over(self) -> Iterator[list]:
        """The batches again and again; samplers that can be told the round are told."""
        for round_ in itertools.count():
            empty = True
            for batch in self.batch_sampler:
                empty = False
                yield batch
            if empty:
                return
            set_epoch = getattr(getattr(self.batch_sampler, 'sampler', None), 'set_epoch', None)
            if set_epoch is not None:
                set_epoch(round_ + 1)


class SeededDataLoader(DataLoader):
    """Data loader with the settings of another one, but for its batch sampler.

    Args:
        loader (DataLoader): Built already, not yet iterated over.
        batch_sampler (SeededBatchSampler): Sampler of the batches.
    """

    def __init__(self, loader: DataLoader, batch_sampler: SeededBatchSampler) -> None:
        batching = ('self', 'dataset', 'batch_size', 'shuffle', 'sampler', 'batch_sampler', 'drop_last')
        names = [name for name in inspect.signature(DataLoader.__init__).parameters if name not in batching]
        super().__init__(loader.dataset, batch_sampler=batch_sampler, **{name: getattr(loader, name) for name in names})

    @property
    def batch_size(self) -> int | None:
        """Images of a batch, for hooks that ask for it; a DataLoader with a batch sampler says None."""
        return getattr(self.batch_sampler, 'batch_size', None)

    @batch_size.setter
    def batch_size(self, value: int | None) -> None:
        pass  # DataLoader sets it to None beside a batch sampler
