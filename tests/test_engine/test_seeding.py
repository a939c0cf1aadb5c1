"""Batches that seed the generators as they are loaded."""

import pickle
import random
from copy import copy, deepcopy

import pytest
import torch
from helpers.compare import assert_equal
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler

from mmrest.engine.seeding import SeededBatch, SeededBatchSampler, SeededDataLoader, derive_seed, set_random_state


def test_seeded_batch_seeds_each_index():
    batch = SeededBatch([4, 7], 11)
    drawn = [(index, torch.rand(()).item(), random.random()) for index in batch]
    assert [index for index, *_ in drawn] == [4, 7]
    for number, (_, *values) in enumerate(drawn):
        set_random_state(derive_seed(11, number))
        assert values == [torch.rand(()).item(), random.random()]


@pytest.mark.parametrize(
    'take',
    [
        lambda batch: pickle.loads(pickle.dumps(batch)),
        copy,
        deepcopy,
        len,
        repr,
        lambda batch: batch[:],
        lambda batch: batch[0],
        lambda batch: 7 in batch,
    ],
)
def test_seeded_batch_not_iterated_leaves_the_random_state(take):
    """Pickling least of all, which a thread of the process that trains does for its workers."""
    batch = SeededBatch([4, 7], 11)
    state = torch.get_rng_state()
    taken = take(batch)
    assert_equal(torch.get_rng_state(), state)
    if isinstance(taken, SeededBatch):
        assert taken == batch and taken.seed == 11


@pytest.mark.parametrize('workers', [0, 2])
def test_seeded_loader_keeps_loader_settings(workers):
    options = dict(prefetch_factor=3, persistent_workers=True, timeout=5) if workers else {}
    loader = DataLoader(
        range(5),
        2,
        num_workers=workers,
        collate_fn=list,
        worker_init_fn=id,
        drop_last=True,
        generator=torch.Generator(),
        **options,
    )
    seeded = SeededDataLoader(loader, SeededBatchSampler(loader.batch_sampler, 0, 0, endless=False))
    for name in (
        'dataset',
        'num_workers',
        'collate_fn',
        'worker_init_fn',
        'prefetch_factor',
        'persistent_workers',
        'timeout',
        'generator',
        'batch_size',
        'pin_memory',
        'multiprocessing_context',
    ):
        assert getattr(seeded, name) == getattr(loader, name), name
    assert len(seeded) == 2 and seeded.batch_sampler.drop_last


def test_seeded_sampler_passes_attributes_through():
    inner = BatchSampler(SequentialSampler(range(7)), 3, drop_last=False)
    batches = SeededBatchSampler(inner, 1, 0, endless=False)
    assert batches.sampler is inner.sampler and batches.batch_size == 3 and len(deepcopy(batches)) == 3


def seeds(batches, number):
    return [(list(batch), batch.seed) for _, batch in zip(range(number), batches)]


def endless():
    return SeededBatchSampler(BatchSampler(SequentialSampler(range(7)), 3, drop_last=False), 1, 0, endless=True)


@pytest.mark.parametrize('ahead', [0, 2, 5])
@pytest.mark.parametrize('position', [1, 4, 30])
def test_seeded_sampler_seek_continues_at_the_position(ahead, position):
    """Batches that workers have taken ahead make no difference."""
    expected = seeds(endless(), 40)
    assert [batch for batch, _ in expected[:4]] == [[0, 1, 2], [3, 4, 5], [6], [0, 1, 2]]
    assert len({seed for _, seed in expected}) == 40
    batches = endless()
    seeds(batches, ahead)
    batches.seek(position)
    assert seeds(batches, 10) == expected[position : position + 10]


def test_seeded_sampler_seeds_differ_by_epoch_rank_and_seed():
    def make(seed=1, rank=0, epoch=0):
        batches = SeededBatchSampler(BatchSampler(SequentialSampler(range(8)), 2, False), seed, rank, endless=False)
        batches.epoch = epoch
        return seeds(batches, 9)

    assert make() == make() and len(make()) == 4
    every = [seed for kind in (make(), make(seed=2), make(rank=1), make(epoch=1)) for _, seed in kind]
    assert len(set(every)) == 16
