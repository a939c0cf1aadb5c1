"""AP of each class, of mmdet's metric for COCO."""

import json

import numpy as np
import pytest
import torch

CocoMetric = pytest.importorskip('mmdet.evaluation').CocoMetric

from mmrest.visualization.report.classwise import ClasswiseMetric, add_classwise  # noqa: E402


def evaluate(metric, shapes):
    """Evaluate boxes of the annotations with empty masks: a box AP of 1 and a mask AP of 0."""
    content = json.loads((shapes / 'annotations/instances_val.json').read_text())
    metric.dataset_meta = dict(classes=('disc', 'square', 'triangle', 'star'))
    (wrapped,) = add_classwise(metrics := [metric]) or (metric,)
    assert metrics == [wrapped]
    for image in content['images']:
        own = [a for a in content['annotations'] if a['image_id'] == image['id'] and not a['iscrowd']]
        boxes = np.array([a['bbox'] for a in own], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        found = dict(
            bboxes=torch.tensor(boxes),
            labels=torch.tensor([a['category_id'] - 1 for a in own], dtype=torch.long),
            scores=torch.ones(len(own)),
            masks=torch.zeros(len(own), 64, 64, dtype=torch.bool),
        )
        wrapped.process({}, [dict(pred_instances=found, img_id=image['id'], ori_shape=(64, 64))])
    return wrapped, wrapped.evaluate(len(content['images']))


@pytest.mark.parametrize('classwise', [False, True])
def test_classwise_metric_keeps_boxes_and_masks_apart(shapes, classwise):
    ann_file = str(shapes / 'annotations/instances_val.json')
    wrapped, found = evaluate(CocoMetric(ann_file, metric=['bbox', 'segm'], classwise=classwise), shapes)
    assert found['coco/bbox_mAP'] == 1 and found['coco/segm_mAP'] == 0
    present = {a['category_id'] - 1 for a in json.loads(open(ann_file).read())['annotations'] if not a['iscrowd']}
    for i, name in enumerate(wrapped.dataset_meta['classes']):
        expected = [1, 0] if i in present else [np.nan] * 2
        np.testing.assert_equal([wrapped.class_ap[kind][name] for kind in ('bbox', 'segm')], expected)
    # The values of classes are among the results only if the config asks for them.
    assert ('coco/disc_precision' in found) is classwise
    assert wrapped.results == [] and wrapped.metric.metrics == ['bbox', 'segm']


def test_results_are_those_without_a_report(shapes):
    settings = dict(ann_file=str(shapes / 'annotations/instances_val.json'), metric=['bbox', 'segm'])
    _, found = evaluate(CocoMetric(**settings), shapes)
    plain = CocoMetric(**settings, format_only=False, iou_thrs=None)
    plain.dataset_meta = dict(classes=('disc', 'square', 'triangle', 'star'))
    wrapped = ClasswiseMetric(CocoMetric(**settings))
    assert wrapped.prefix == plain.prefix == 'coco' and wrapped.collect_device == plain.collect_device
    assert set(found) == {
        f'coco/{kind}_mAP{end}' for kind in ('bbox', 'segm') for end in ('', '_50', '_75', '_s', '_m', '_l')
    }


@pytest.mark.parametrize('settings', [dict(format_only=True, outfile_prefix='x'), dict(metric='proposal_fast')])
def test_metrics_without_values_of_classes_stay(settings):
    metrics = [CocoMetric(**settings), object()]
    before = list(metrics)
    assert add_classwise(metrics) == [] and metrics == before


def test_metrics_with_few_thresholds_stay():
    assert add_classwise([CocoMetric(iou_thrs=[0.5, 0.75])]) == []
