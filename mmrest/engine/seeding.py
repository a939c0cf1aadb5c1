"""Random states derived from the seed and the position of a run, so that a resumed run continues the same sequence.

mmengine does not save the state of random number generators and seeds data loading identically at every start. Here,
every random state is derived from numbers that a resumed run knows: before each step for the model, and before each
sample for its augmentation. Results therefore do not depend on the checkpoint interval or the number of workers, and
samples that workers had prefetched when a run was killed are loaded again.
"""

from __future__ import annotations

import inspect
import itertools
import random
from typing import Any, Iterable, Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

# First argument of derive_seed(): the purpose of the random state.
MODEL, EPOCH, DATA = range(3)


def derive_seed(*numbers: int) -> int:
    """Hash non-negative integers to a 64-bit seed with ``numpy.random.SeedSequence``."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def set_random_state(seed: int, devices: bool = False) -> None:
    """Seed the global random number generators of Python, NumPy and PyTorch.

    Args:
        seed (int): 64-bit seed.
        devices (bool): Seed the generators of GPUs and other devices as well, which is about ten times slower.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    if devices:
        torch.manual_seed(seed % 2**63)
    else:
        torch.default_generator.manual_seed(seed % 2**63)


class SeededBatch(list):
    """Indices of a batch; iterating over them seeds the global generators before each index.

    A data loader loads each sample right after it takes the index from the iterator, in any process, so every sample
    gets a random state of its own. Indexing, slicing, pickling and copying do not seed.

    Args:
        indices (Iterable[int]): Indices of samples.
        seed (int): 64-bit seed.
    """

    def __init__(self, indices: Iterable[int], seed: int) -> None:
        super().__init__(indices)
        self.seed = seed

    def __iter__(self) -> Iterator[int]:
        for seed, index in zip(self.sample_seeds(), super().__iter__()):
            set_random_state(seed)
            yield index

    def sample_seeds(self) -> list[int]:
        """Return the seed of each sample."""
        return [derive_seed(self.seed, number) for number in range(len(self))]

    def __reduce__(self) -> tuple:
        return type(self), (self[:], self.seed)


class SeededBatchSampler(Sampler):
    """Batch sampler that wraps another one and seeds each batch by its position.

    Args:
        batch_sampler (Sampler): Yields lists of indices.
        seed (int): Seed of the run.
        rank (int): Rank of this process.
        endless (bool): Start over at the end and support :meth:`seek`, for iteration-based loops. False: positions
            are counted within each epoch.
    """

    def __init__(self, batch_sampler: Any, seed: int, rank: int, endless: bool) -> None:
        self.batch_sampler = batch_sampler
        self.seed = seed
        self.rank = rank
        self.endless = endless
        self.epoch = 0
        self._position = 0
        self._source = self._start_over() if endless else None
        self._consumed: list | None = []  # batches to replay in seek()

    def __getattr__(self, name: str) -> Any:
        if name == 'batch_sampler':  # not set yet while an instance is copied
            raise AttributeError(name)
        return getattr(self.batch_sampler, name)  # batch_size, drop_last, sampler

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[SeededBatch]:
        if not self.endless:
            for position, batch in enumerate(self.batch_sampler):
                yield SeededBatch(batch, self._batch_seed(position))
            return
        for batch in self._source:
            if self._consumed is not None:
                self._consumed.append(batch)
            self._position += 1
            yield SeededBatch(batch, self._batch_seed(self._position - 1))

    def sample_seeds(self, position: int, count: int) -> list[int]:
        """Return the seeds of the ``count`` samples of the batch at a position."""
        return SeededBatch(range(count), self._batch_seed(position)).sample_seeds()

    def seek(self, position: int) -> None:
        """Continue an endless sampler at a position; call it at most once, before the first step.

        Args:
            position (int): Number of batches to skip, counted from the start of the run.
        """
        self._source = itertools.chain(self._consumed, self._source)
        next(itertools.islice(self._source, position, position), None)
        self._position = position
        self.disable_seek()

    def disable_seek(self) -> None:
        """Stop recording batches for :meth:`seek`."""
        self._consumed = None

    def _batch_seed(self, position: int) -> int:
        return derive_seed(DATA, self.seed, self.rank, self.epoch, position)

    def _start_over(self) -> Iterator[list]:
        """Repeat the wrapped sampler endlessly, calling ``set_epoch`` before each repetition if it exists."""
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
    """Data loader with the settings of another one and a seeded batch sampler.

    Args:
        loader (DataLoader): Data loader to copy the settings from; not iterated over yet.
        batch_sampler (SeededBatchSampler): Batch sampler to use.
    """

    def __init__(self, loader: DataLoader, batch_sampler: SeededBatchSampler) -> None:
        batching = ('self', 'dataset', 'batch_size', 'shuffle', 'sampler', 'batch_sampler', 'drop_last')
        names = [name for name in inspect.signature(DataLoader.__init__).parameters if name not in batching]
        super().__init__(loader.dataset, batch_sampler=batch_sampler, **{name: getattr(loader, name) for name in names})

    @property
    def batch_size(self) -> int | None:
        """Batch size of the batch sampler; a plain DataLoader with a batch sampler has None, which hooks reject."""
        return getattr(self.batch_sampler, 'batch_size', None)

    @batch_size.setter
    def batch_size(self, value: int | None) -> None:
        pass  # DataLoader.__init__() sets it to None
