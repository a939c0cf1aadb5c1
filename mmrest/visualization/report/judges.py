"""Comparison of predictions with the annotations of their image, for detectors, segmentors and classifiers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...engine import UsageError
from .matching import NOTHING, Boxes, Pairs, match_boxes


@dataclass
class Judgement:
    """Comparison of one image.

    Attributes:
        pairs (Counter): How often each pair (annotated class, predicted class) occurs.
        badness (float): Order of the images from good to bad; 0 if nothing is wrong.
        text (str): The result in words.
    """

    pairs: Pairs
    badness: float
    text: str


class DetectionJudge:
    """Judge of detectors and instance segmentors, by their boxes.

    The annotations are those of the dataset rather than of the sample, whose boxes are scaled if the pipeline loads
    them before it resizes the image, and which need not be there for COCO's metric.

    Args:
        dataset (BaseDataset): Dataset of the test.
        score_thr (float): Detections below this score do not count.
        iou_thr (float): IoU from which a detection covers an object.
    """

    task = 'detection'

    def __init__(self, dataset: Any, score_thr: float, iou_thr: float) -> None:
        self.dataset, self.score_thr, self.iou_thr = dataset, score_thr, iou_thr
        self.indices = {}
        if hasattr(dataset, 'get_data_info'):
            infos = ((index, dataset.get_data_info(index)) for index in range(len(dataset)))
            self.indices = {str(info.get('img_path')): index for index, info in infos if 'instances' in info}

    def truth(self, sample: Any, masks: bool = False) -> Any:
        """Return a sample with the annotations of the image of another one, in pixels of the file.

        Args:
            sample (DetDataSample): Sample with predictions.
            masks (bool): Load masks as well, if there are any.

        Returns:
            DetDataSample | None: ``gt_instances`` and ``ignored_instances``; None if there are no annotations.
        """
        from mmdet.datasets.transforms import LoadAnnotations, PackDetInputs

        index = self.indices.get(str(sample.get('img_path')))
        if index is None:  # a dataset of another kind
            return sample if 'gt_instances' in sample and 'bboxes' in sample.gt_instances else None
        info = self.dataset.get_data_info(index)
        info['ori_shape'] = sample.get('ori_shape')
        masks = masks and all('mask' in instance for instance in info['instances'])
        return PackDetInputs(meta_keys=())(LoadAnnotations(with_bbox=True, with_mask=masks)(info))['data_samples']

    def judge(self, sample: Any) -> Judgement | None:
        """Compare the detections of an image; None if it has no annotations."""
        truth = self.truth(sample)
        if truth is None:
            return None
        found = sample.pred_instances
        scores = _array(found.scores)
        order = [i for i in np.argsort(-scores, kind='stable') if scores[i] >= self.score_thr]
        boxes = Boxes(_array(_boxes_of(found))[order], _array(found.labels)[order])
        ignored = truth.get('ignored_instances')
        pairs = match_boxes(boxes, _as_boxes(truth.gt_instances), _as_boxes(ignored), self.iou_thr)
        missed = sum(count for (_, predicted), count in pairs.items() if predicted == NOTHING)
        false = sum(count for (annotated, _), count in pairs.items() if annotated == NOTHING)
        mistaken = sum(count for pair, count in pairs.items() if NOTHING not in pair and pair[0] != pair[1])
        correct = sum(count for pair, count in pairs.items() if pair[0] == pair[1])
        text = f'{missed} missed, {false} false, {mistaken} of a wrong class, {correct} correct'
        return Judgement(pairs, missed + false + mistaken, text)


class SegmentationJudge:
    """Judge of semantic segmentors, by their pixels.

    Args:
        num_classes (int): Number of classes.
        ignore_index (int): Label of the pixels that do not count.
    """

    task = 'segmentation'

    def __init__(self, num_classes: int, ignore_index: int = 255) -> None:
        self.num_classes, self.ignore_index = num_classes, ignore_index

    def truth(self, sample: Any, masks: bool = False) -> Any:
        """Return the sample itself if it has annotations, else None."""
        return sample if 'gt_sem_seg' in sample else None

    def judge(self, sample: Any) -> Judgement | None:
        """Compare the label maps of an image; None without annotations, or if all of its pixels are ignored."""
        if self.truth(sample) is None:
            return None
        predicted, annotated = (_array(sample.get(key).data).squeeze() for key in ('pred_sem_seg', 'gt_sem_seg'))
        valid = annotated != self.ignore_index
        # As in mmseg, pixels whose label is no class count for the class predicted there. The row of NOTHING is last.
        number = self.num_classes
        rows, columns = (
            np.where((each >= 0) & (each < number), each, number).astype(np.int64)
            for each in (annotated[valid], predicted[valid])
        )
        counts = np.bincount(rows * (number + 1) + columns, minlength=(number + 1) ** 2).reshape(number + 1, -1)
        correct = counts.diagonal()[:number]
        union = counts.sum(1)[:number] + counts.sum(0)[:number] - correct
        if not union.any():
            return None
        pairs: Pairs = Counter()
        for row, column in zip(*np.nonzero(counts)):
            classes = tuple(NOTHING if each == number else int(each) for each in (row, column))
            pairs[classes] = int(counts[row, column])
        iou = float((correct[union > 0] / union[union > 0]).mean())
        accuracy = correct.sum() / counts[:number].sum() if counts[:number].any() else 0.0
        return Judgement(pairs, 1 - iou, f'mIoU {100 * iou:.2f}, {100 * accuracy:.2f} % of the pixels correct')


class ClassificationJudge:
    """Judge of classifiers that give an image one class.

    Args:
        classes (Sequence[str]): Names of the classes.
    """

    task = 'classification'

    def __init__(self, classes: Any) -> None:
        self.classes = classes

    def truth(self, sample: Any, masks: bool = False) -> Any:
        """Return the sample itself if it has an annotation, else None."""
        return sample if 'gt_label' in sample else None

    def judge(self, sample: Any) -> Judgement | None:
        """Compare the class of an image; None without an annotation.

        Raises:
            UsageError: The image has several classes.
        """
        if self.truth(sample) is None:
            return None
        labels = [_array(sample.get(key)).reshape(-1) for key in ('gt_label', 'pred_label')]
        if any(len(each) != 1 for each in labels):
            raise UsageError('A report of a classifier needs one class for each image; this model gives several.')
        annotated, predicted = (int(each[0]) for each in labels)
        scores = _array(sample.pred_score)
        name = self.classes[annotated] if annotated < len(self.classes) else f'class {annotated}'
        badness = 0.0 if annotated == predicted else 1 - float(scores[annotated])
        return Judgement(
            Counter({(annotated, predicted): 1}),
            badness,
            f'annotated as {name}, whose score is {scores[annotated]:.3f}',
        )


Judge = DetectionJudge | SegmentationJudge | ClassificationJudge


def find_judge(sample: Any, dataset: Any, ignore_index: int, score_thr: float, iou_thr: float) -> Judge:
    """Return the judge of a model.

    Args:
        sample (BaseDataElement): First sample with predictions of the model.
        dataset (BaseDataset): Dataset of the test.
        ignore_index (int): Label of the pixels that a segmentor is not judged by.
        score_thr (float): Score from which a detection counts.
        iou_thr (float): IoU from which a detection covers an object.

    Raises:
        UsageError: The model is no detector, segmentor or classifier.
    """
    classes = getattr(dataset, 'metainfo', {}).get('classes') or ()
    if 'pred_instances' in sample and {'bboxes', 'labels', 'scores'} <= set(sample.pred_instances.keys()):
        if _array(getattr(sample.pred_instances.bboxes, 'tensor', sample.pred_instances.bboxes)).shape[-1] == 4:
            return DetectionJudge(dataset, score_thr, iou_thr)
    if 'pred_sem_seg' in sample:
        return SegmentationJudge(len(classes), ignore_index)
    if 'pred_label' in sample and 'pred_score' in sample:
        return ClassificationJudge(classes)
    raise UsageError(
        'A report can be made of detectors and instance segmentors (pred_instances with upright bboxes, labels and '
        'scores), semantic segmentors (pred_sem_seg), and classifiers (pred_label, pred_score); this model predicts '
        f'{", ".join(sample.keys()) or "nothing"}. Test it without --report.'
    )


def _boxes_of(instances: Any) -> Any:
    """Return the boxes (n, 4) of detections, around their masks if the detector gives empty ones."""
    boxes = getattr(instances.bboxes, 'tensor', instances.bboxes)
    if 'masks' in instances and len(boxes) and not boxes.any():
        from mmdet.structures.mask import mask2bbox

        return mask2bbox(instances.masks)
    return boxes


def _as_boxes(instances: Any) -> Boxes:
    if instances is None or 'bboxes' not in instances:
        return Boxes(np.zeros((0, 4)), np.zeros(0, int))
    return Boxes(_array(getattr(instances.bboxes, 'tensor', instances.bboxes)), _array(instances.labels))


def _array(value: Any) -> np.ndarray:
    return value.detach().cpu().numpy() if hasattr(value, 'detach') else np.asarray(value)
