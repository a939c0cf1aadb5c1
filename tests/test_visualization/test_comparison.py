"""Pictures of predictions beside the ground truth."""

import json

import cv2
import numpy as np
import pytest

from mmrest.visualization import plot_predictions


def test_plotted_predictions_leave_out_low_scores(shapes, tmp_path):
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
