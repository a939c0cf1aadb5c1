"""Learning curves read from the logs of a run."""

import json

import cv2
import numpy as np
import pytest

from mmrest.analysis import chart_curves, plot_curves, read_scalars


def write_log(work_dir, name, records, tail=''):
    path = work_dir / name / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text('\n'.join(json.dumps(record) for record in records) + '\n' + tail)


@pytest.fixture
def work_dir(tmp_path):
    """A run that was killed while it wrote its log, and resumed from the epoch before."""
    train = [dict(step=i, iter=i, lr=0.1, loss=1 / i, loss_cls=0.5 / i) for i in range(1, 7)]
    write_log(tmp_path, '20260101_000000', [*train, dict(step=1, **{'coco/bbox_mAP': 0.25})], tail='{"lr": 0.1, "los')
    resumed = [dict(step=i, iter=i, lr=0.1, loss=2.0) for i in (5, 6, 7)]
    write_log(tmp_path, '20260101_010000', [*resumed, dict(step=2, **{'coco/bbox_mAP': 0.5, 'coco/bbox_mAP_50': 0.7})])
    return tmp_path


def test_scalars_of_a_resumed_run_are_merged(work_dir):
    train, val = read_scalars(work_dir)
    assert [record['step'] for record in train] == [1, 2, 3, 4, 5, 6, 7]
    assert [record['loss'] for record in train[3:]] == [0.25, 2.0, 2.0, 2.0]
    assert [(record['step'], record['coco/bbox_mAP']) for record in val] == [(1, 0.25), (2, 0.5)]


def test_plotted_curves_make_a_picture(work_dir):
    picture = cv2.imread(str(plot_curves(work_dir, work_dir / 'new' / 'curves.png')))
    assert picture.shape[1] > 2 * picture.shape[0] and len(np.unique(picture.reshape(-1, 3), axis=0)) > 50


def test_scalars_without_a_log_raise(tmp_path):
    with pytest.raises(FileNotFoundError, match='no log'):
        read_scalars(tmp_path)


def test_chart_curves_has_losses_and_metrics(work_dir):
    (losses, first), (metrics, second) = chart_curves(work_dir)
    assert 'losses' in losses and 'metrics' in metrics
    for chart, texts in (
        (first, ('loss cls', 'iteration')),
        (second, ('box AP: 0.500 at the end', 'on the validation images')),
    ):
        assert [text for text in texts if f'>{text}<' not in chart] == []


def test_chart_curves_without_validation_or_log_leaves_them_out(tmp_path):
    assert chart_curves(tmp_path) == []
    write_log(tmp_path, '20260101_000000', [dict(step=1, loss=1.0)])
    assert [caption for caption, _ in chart_curves(tmp_path)] == ['losses in training']
