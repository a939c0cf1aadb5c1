"""Curves and pictures of a run."""

import json

import cv2
import numpy as np
import pytest

from mmrest.analysis import plot_curves, read_scalars
from mmrest.visualization import plot_predictions


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


def test_a_resumed_run_is_one_run(work_dir):
    train, val = read_scalars(work_dir)
    assert [record['step'] for record in train] == [1, 2, 3, 4, 5, 6, 7]
    assert [record['loss'] for record in train[3:]] == [0.25, 2.0, 2.0, 2.0]
    assert [(record['step'], record['coco/bbox_mAP']) for record in val] == [(1, 0.25), (2, 0.5)]


def test_curves_are_drawn(work_dir):
    picture = cv2.imread(str(plot_curves(work_dir, work_dir / 'new' / 'curves.png')))
    assert picture.shape[1] > 2 * picture.shape[0] and len(np.unique(picture.reshape(-1, 3), axis=0)) > 50


def test_no_log(tmp_path):
    with pytest.raises(FileNotFoundError, match='no log'):
        read_scalars(tmp_path)


def test_predictions_beside_ground_truth(shapes, tmp_path):
    pytest.importorskip('pycocotools')
    content = json.loads((shapes / 'annotations/instances_val.json').read_text())

    def draw(scores, name):
        found = dict(
            bboxes=np.array([[4.0, 4, 40, 40]] * len(scores)),
            scores=np.array(scores),
            labels=np.zeros(len(scores), int),
        )
        predictions = [dict(img_id=image['id'], pred_instances=found) for image in content['images']]
        out = plot_predictions(
            shapes / 'annotations/instances_val.json', shapes / 'images/val', predictions, tmp_path / name
        )
        return cv2.imread(str(out))

    sure, unsure, none = draw([0.9], 'a.png'), draw([0.1], 'b.png'), draw([], 'c.png')
    assert np.array_equal(unsure, none) and not np.array_equal(sure, none)
