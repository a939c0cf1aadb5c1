"""The worst images of a test, and records of several processes."""

from collections import Counter

import numpy as np

from mmrest.visualization.report.record import Picture, TestRecord


def test_worst_pictures_are_those_of_a_sort():
    """The order does not depend on that of the images; equally bad ones come in the order of the dataset."""
    badness = np.random.default_rng(0).integers(0, 6, 60).tolist()
    expected = sorted((-value, i) for i, value in enumerate(badness) if value)[:10]
    record, kept = TestRecord(), 0
    for position, value in enumerate(badness):
        if record.is_among_worst(value):
            record.add_worst([Picture(position, '', badness=value)])
            kept += 1
    assert [(-picture.badness, picture.position) for picture in record.worst] == expected
    assert 10 < kept < 40  # others are not even painted


def test_pictures_without_a_fault_are_not_among_the_worst():
    assert not TestRecord().is_among_worst(0)


def test_merged_records_are_that_of_one_process():
    one, two = (
        TestRecord(
            task=task,
            num_judged=2,
            pairs=Counter({(0, rank): 2}),
            worst=[Picture(rank, '', badness=3 - rank)],
            examples=[Picture(1 - rank, '')],
        )
        for rank, task in enumerate(('', 'detection'))
    )
    one.max_worst = 1
    one.merge([two])
    assert (one.task, one.num_judged, one.pairs) == ('detection', 4, {(0, 0): 2, (0, 1): 2})
    assert [picture.position for picture in one.worst] == [0]
    assert [picture.position for picture in one.examples] == [0, 1]
