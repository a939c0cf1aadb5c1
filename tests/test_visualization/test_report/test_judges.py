"""Predictions compared with annotations, of each kind of model."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement, InstanceData, PixelData

pytest.importorskip('cv2')

from mmrest.engine import UsageError
from mmrest.visualization.report.judges import ClassificationJudge, DetectionJudge, SegmentationJudge, find_judge
from mmrest.visualization.report.matching import NOTHING

BOX = [2.0, 2.0, 12.0, 12.0]


def segmented(predicted, annotated=None):
    sample = BaseDataElement(pred_sem_seg=PixelData(data=torch.as_tensor(predicted)[None]))
    if annotated is not None:
        sample.set_data(dict(gt_sem_seg=PixelData(data=torch.as_tensor(annotated)[None])))
    return sample


def test_segmentation_areas_are_those_of_mmseg():
    """Labels outside of the classes, in annotations and predictions, and ignored pixels are included."""
    metric = pytest.importorskip('mmseg.evaluation').IoUMetric
    rng = np.random.default_rng(0)
    annotated, predicted = rng.choice([0, 1, 2, 3, 9, 255], (40, 30)), rng.choice([0, 1, 2, 7], (40, 30))
    judgement = SegmentationJudge(4).judge(segmented(predicted, annotated))
    pairs = judgement.pairs
    correct, union, found, truth = metric.intersect_and_union(
        torch.as_tensor(predicted), torch.as_tensor(annotated), 4, 255
    )
    for label in range(4):
        assert pairs[label, label] == correct[label]
        assert sum(n for (row, _), n in pairs.items() if row == label) == truth[label]
        assert sum(n for (_, column), n in pairs.items() if column == label) == found[label]
    assert pairs[NOTHING, NOTHING] == ((annotated == 9) & (predicted == 7)).sum() > 0
    assert sum(pairs.values()) == (annotated != 255).sum()
    iou = np.nanmean((correct / union).numpy())
    assert judgement.badness == pytest.approx(1 - iou, rel=1e-6) and f'mIoU {100 * iou:.2f},' in judgement.text


@pytest.mark.parametrize(
    'annotated, ignore_index, badness',
    [([[0, 1]], 255, 0.75), ([[0, 255]], 255, 0.0), ([[0, 1]], 1, 0.0), ([[255, 255]], 255, None), (None, 255, None)],
)
def test_segmentation_of_ignored_pixels_does_not_count(annotated, ignore_index, badness):
    """The prediction is class 0 everywhere: where half of the image is of class 1, the IoUs are 1/2 and 0."""
    judgement = SegmentationJudge(2, ignore_index).judge(segmented([[0, 0]], annotated))
    assert (judgement and judgement.badness) == badness


def classified(annotated, predicted, scores=(0.2, 0.7, 0.1)):
    fields = dict(pred_label=torch.tensor(predicted), pred_score=torch.tensor(scores))
    return BaseDataElement(**fields, **({} if annotated is None else dict(gt_label=torch.tensor(annotated))))


def test_classification_is_as_bad_as_the_score_of_the_true_class_is_low():
    judge = ClassificationJudge(('a', 'b'))
    wrong, right = judge.judge(classified([0], [1])), judge.judge(classified([1], [1]))
    assert wrong.pairs == {(0, 1): 1} and wrong.badness == pytest.approx(0.8) and 'annotated as a' in wrong.text
    assert right.pairs == {(1, 1): 1} and right.badness == 0
    assert 'class 2' in judge.judge(classified([2], [1])).text  # the config names two of three
    assert judge.judge(classified(None, [1])) is None
    with pytest.raises(UsageError, match='one class for each image'):
        judge.judge(classified([0, 1], [1]))


class Dataset:
    """A dataset of mmdet with one image."""

    metainfo = dict(classes=('a', 'b'))

    def __init__(self, *instances, path='a.png'):
        self.instances, self.path = instances, path

    def __len__(self):
        return 1

    def get_data_info(self, index):
        return dict(img_path=self.path, instances=[dict(each) for each in self.instances])


def instance(box, label=0, ignored=0, **fields):
    return dict(bbox=box, bbox_label=label, ignore_flag=ignored, **fields)


def detected(boxes, labels=None, scores=None, path='a.png', **fields):
    count = len(boxes)
    found = InstanceData(
        bboxes=torch.tensor(boxes).reshape(-1, 4),
        labels=torch.tensor(labels or [0] * count),
        scores=torch.tensor(scores or [0.9] * count),
        **fields,
    )
    sample = BaseDataElement(pred_instances=found)
    sample.set_metainfo(dict(img_path=path, ori_shape=(20, 20)))
    return sample


def detection_judge(*instances, **settings):
    pytest.importorskip('mmdet.datasets.transforms')
    return DetectionJudge(Dataset(*instances, **settings), score_thr=0.3, iou_thr=0.5)


def test_detection_is_compared_with_the_annotations_of_the_file():
    judge = detection_judge(instance(BOX), instance([0, 0, 5, 5], 1), instance([13, 13, 20, 20], ignored=1))
    sample = detected([BOX, BOX, [14.0, 14, 16, 16]], [0, 1, 0], [0.9, 0.29, 0.8])
    # Those of the sample are of the resized image.
    sample.set_data(dict(gt_instances=InstanceData(bboxes=torch.tensor([[0.0, 0, 1, 1]]), labels=torch.tensor([1]))))
    judgement = judge.judge(sample)
    assert judgement.pairs == {(0, 0): 1, (1, NOTHING): 1}
    assert judgement.badness == 1 and judgement.text == '1 missed, 0 false, 0 of a wrong class, 1 correct'


def test_detection_orders_by_score():
    judge = detection_judge(instance(BOX))
    better, worse = BOX, [2.0, 2, 12, 9]
    assert judge.judge(detected([worse, better], scores=[0.4, 0.9])).pairs == {(0, 0): 1, (NOTHING, 0): 1}


@pytest.mark.parametrize('boxes, expected', [([], {}), ([BOX], {(NOTHING, 0): 1})])
def test_detection_in_an_image_without_objects(boxes, expected):
    assert detection_judge().judge(detected(boxes)).pairs == expected


def test_detection_without_annotations_of_the_image_takes_those_of_the_sample():
    judge, sample = detection_judge(path='other.png'), detected([BOX])
    assert judge.judge(sample) is None
    sample.set_data(dict(gt_instances=InstanceData(bboxes=torch.tensor([BOX]), labels=torch.tensor([0]))))
    assert judge.judge(sample).pairs == {(0, 0): 1}


def test_detection_with_masks_and_empty_boxes_is_judged_by_its_masks():
    mask = torch.zeros(1, 20, 20, dtype=torch.bool)
    mask[0, 2:12, 2:12] = True
    sample = detected([[0.0] * 4], masks=mask)
    assert detection_judge(instance(BOX)).judge(sample).pairs == {(0, 0): 1}


def test_detection_truth_has_masks_on_request():
    judge = detection_judge(
        instance(BOX, mask=[[2, 2, 12, 2, 12, 12, 2, 12]]), instance([1, 1, 3, 3], 1, 1, mask=[[0]])
    )
    truth = judge.truth(detected([]), masks=True)
    assert truth.gt_instances.masks.to_ndarray().sum() == 100 and len(truth.ignored_instances) == 1
    assert 'masks' not in judge.truth(detected([])).gt_instances
    # A file of which some objects have no mask.
    assert 'masks' not in detection_judge(instance(BOX)).truth(detected([]), masks=True).gt_instances


def test_find_judge_names_what_is_supported():
    dataset = SimpleNamespace(metainfo=dict(classes=('a',)))
    tasks = [
        find_judge(sample, dataset, 255, 0.3, 0.5).task
        for sample in (detected([]), segmented([[0]]), classified([0], [0]))
    ]
    assert tasks == ['detection', 'segmentation', 'classification']
    rotated = BaseDataElement(
        pred_instances=InstanceData(bboxes=torch.zeros(1, 5), labels=torch.zeros(1), scores=torch.zeros(1))
    )
    panoptic = BaseDataElement(pred_panoptic_seg=PixelData(data=torch.zeros(1, 2, 2)))
    for sample, predicted in ((rotated, 'pred_instances'), (panoptic, 'pred_panoptic_seg'), (BaseDataElement(), 'no')):
        with pytest.raises(UsageError, match=f'upright bboxes.*predicts {predicted}.*without --report'):
            find_judge(sample, dataset, 255, 0.3, 0.5)
