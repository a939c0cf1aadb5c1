"""Times taken in turn, and peak memory."""

import pytest
import torch

from mmrest.benchmark import compare_times, peak_memory
from mmrest.benchmark.measure import MEGABYTE, _allocated


def test_compare_times_measures_in_turn():
    order = []
    steps = [lambda train, name=name: order.append((name, train)) for name in 'AB']
    results = compare_times(steps, train=True, rounds=3)
    assert order == [('A', True), ('B', True)] * 4  # the first round does not count
    assert results[0]['speedup'] == 1 and results[0]['speedup_quartiles'] == (1, 1)
    assert [len(result['seconds']) for result in results] == [3, 3]
    ratios = [a / b for a, b in zip(results[0]['seconds'], results[1]['seconds'])]
    assert results[1]['speedup'] == sorted(ratios)[1]


def test_allocated_memory_is_the_peak_and_not_the_sum():
    def step(train):
        for _ in range(5):
            torch.empty(10 * MEGABYTE, dtype=torch.uint8).fill_(1)
        kept = torch.zeros(2 * MEGABYTE, dtype=torch.uint8)
        torch.zeros(3 * MEGABYTE, dtype=torch.uint8) + kept[0]

    assert _allocated(step, False) / MEGABYTE == pytest.approx(10, abs=0.1)


@pytest.mark.slow
def test_peak_memory_in_its_own_process_orders_models_and_fails_cleanly():
    settings = dict(part='backbone', shape=(256, 256), batch=1)
    less, more = (peak_memory('rest-lite' + form, True, **settings) for form in (':with_cp,ffn_recompute', ':released'))
    assert 0 < less['tensor_mb'] < more['tensor_mb']
    assert more['process_mb'] == pytest.approx(more['tensor_mb'], rel=0.3)
    failed = peak_memory('rest-lite:released', True, limit_gb=1.0, **{**settings, 'shape': (1024, 1024)})
    assert failed == dict(failed='out of memory')
