"""Tables of a report."""

from collections import Counter

import numpy as np
import pytest
import torch

from mmrest.visualization.report.matching import NOTHING
from mmrest.visualization.report.record import TestRecord
from mmrest.visualization.report.tables import class_table, confusion_table, metric_cells


def record(task, pairs, classes=('a', 'b', 'c'), **fields):
    return TestRecord(task=task, classes=classes, pairs=Counter(pairs), num_judged=1, **fields)


def texts(table):
    return [[cell.text for cell in row] for row in table.rows]


DETECTIONS = {(0, 0): 3, (0, 1): 2, (0, NOTHING): 5, (1, 1): 4, (NOTHING, 1): 7}


def test_class_table_of_a_detector_counts_objects_and_is_ordered_by_ap():
    found = record('detection', DETECTIONS, class_ap=dict(bbox=dict(a=0.5, b=0.25, c=float('nan')), segm=dict(a=0.125)))
    table = class_table(found)
    assert table.header[:4] == ['class', 'box AP', 'mask AP', 'found, %']
    assert table.header[4:] == ['objects', 'correct', 'missed', 'taken for another class', 'false detections']
    assert texts(table) == [
        ['b', '0.250', '–', '100.0', '4', '4', '0', '0', '7'],
        ['a', '0.500', '0.125', '30.0', '10', '3', '5', '2', '0'],
        ['c', '–', '–', '–', '0', '0', '0', '0', '0'],
    ]
    assert [cell.share for cell in table.rows[1]][1:4] == [0.5, 0.125, 0.3]


def test_class_table_of_a_detector_without_annotations_has_only_what_the_evaluator_gives():
    assert class_table(TestRecord(task='detection', classes=('a',))).header == ['class']


def test_class_table_of_a_segmentor_has_the_values_of_mmseg():
    metric = pytest.importorskip('mmseg.evaluation').IoUMetric
    counts = np.random.default_rng(0).integers(0, 10**9, (3, 3))
    counts[2] = counts[:, 2] = 0  # neither annotated nor predicted
    table = class_table(record('segmentation', {(i, j): int(n) for (i, j), n in np.ndenumerate(counts) if n}))
    correct, truth, found = (
        torch.tensor(each).double() for each in (counts.diagonal().copy(), counts.sum(1), counts.sum(0))
    )
    expected = metric.total_area_to_metrics(correct, truth + found - correct, found, truth)
    by_class = {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}
    for i, name in enumerate('ab'):
        assert by_class[name][:2] == [f'{100 * expected[key][i]:.2f}' for key in ('IoU', 'Acc')]
        assert by_class[name][2] == f'{100 * counts[i].sum() / counts.sum():.2f}'
    assert by_class['c'] == ['–', '–', '0.00'] and table.rows[2][0].text == 'c'


def test_class_table_of_a_classifier_is_ordered_by_accuracy():
    table = class_table(record('classification', {(0, 0): 3, (0, 1): 1, (1, 2): 1}, classes=('a', 'b')))
    assert texts(table) == [
        ['b', '0.00', '1', '0', '1'],
        ['a', '75.00', '4', '3', '3'],
        ['class 2', '–', '0', '0', '1'],
    ]


def test_confusion_table_of_a_detector_has_missed_objects_and_false_detections():
    table = confusion_table(record('detection', DETECTIONS))
    assert table.header == ['', 'a', 'b', 'c', 'missed'] and table.note == ''
    assert texts(table) == [
        ['a', '3', '2', '', '5'],
        ['b', '', '4', '', ''],
        ['c', '', '', '', ''],
        ['no object', '', '7', '', ''],
    ]
    assert [(cell.kind, cell.share) for cell in table.rows[0][1:3]] == [('correct', 0.3), ('wrong', 0.2)]
    assert table.rows[0][2].title == 'a, predicted: b: 2 objects, 20 %'


def test_confusion_table_of_a_segmentor_gives_percent_of_the_row():
    table = confusion_table(record('segmentation', {(0, 0): 9990, (0, 1): 9, (0, 2): 1, (1, 1): 10**9, (1, 0): 10**8}))
    assert texts(table)[:2] == [['a', '100', '<0.1', '<0.1'], ['b', '9.1', '91', '']]
    assert 'missed' not in table.header and len(table.rows) == 3


def test_confusion_table_of_one_class():
    assert texts(confusion_table(record('detection', {(0, 0): 1}, classes=('a',)))) == [['a', '1']]


def test_confusion_table_of_many_classes_shows_those_that_are_confused():
    """All counts stay in the table."""
    classes = tuple(map(str, range(1000)))
    pairs = {(i, i): 2 for i in range(1000)} | {(i, 990 + i % 3): 1 for i in range(0, 900, 30)} | {(3, 4): 50}
    table = confusion_table(record('detection', pairs, classes=classes), max_classes=6)
    # 3 and 4 have 50 confusions, 990 has thirty; further ones are the first of many with one.
    assert table.header == ['', '0', '3', '4', '30', '60', '990', 'other classes']
    assert 'Of 1000 classes, these are the 6 ' in table.note
    assert sum(int(text or 0) for row in texts(table) for text in row[1:]) == sum(pairs.values())
    assert table.rows[1][3].text == '50' and table.rows[-1][-1].text == str(2 * 994)


def test_confusion_table_of_many_classes_without_confusions_has_the_others_alone():
    classes = tuple(map(str, range(30)))
    table = confusion_table(record('classification', {(i, i): 1 for i in range(30)}, classes=classes))
    assert texts(table) == [['other classes', '30']]


@pytest.mark.parametrize(
    'value, text',
    [
        (0.7, '0.700'),
        (-1.0, '–'),
        (float('nan'), '–'),
        (64.4, '64.40'),
        (np.float32(12.5), '12.50'),
        (3, '3'),
        (0.0, '0.000'),
    ],
)
def test_metric_cells_show_numbers(value, text):
    assert metric_cells({'coco/bbox_mAP_l': value}) == [('coco/bbox_mAP_l', text)]


def test_metric_cells_leave_out_what_is_no_number():
    assert metric_cells(dict(a=torch.zeros(2, 2), b='text', c=True, d=-1.0)) == [('d', '-1.000')]
