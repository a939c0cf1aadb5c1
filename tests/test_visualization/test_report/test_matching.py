"""Detections matched with objects, beside COCO's own matching."""

import numpy as np
import pytest

pytest.importorskip('pycocotools')

from mmrest.visualization.report.matching import NOTHING, Boxes, match_boxes  # noqa: E402

LEFT, RIGHT, FAR = [0, 0, 10, 10], [20, 0, 30, 10], [50, 50, 60, 60]


def boxes(*pairs):
    corners, labels = zip(*pairs) if pairs else ((), ())
    return Boxes(np.array(corners, float).reshape(-1, 4), np.array(labels, int))


@pytest.mark.parametrize(
    'found, objects, ignored, expected',
    [
        ([], [], [], {}),
        ([], [(LEFT, 1)], [], {(1, NOTHING): 1}),
        ([(LEFT, 1)], [], [], {(NOTHING, 1): 1}),
        ([(LEFT, 1)], [(LEFT, 1)], [], {(1, 1): 1}),
        # A second detection of an object is false.
        ([(LEFT, 1), (LEFT, 1)], [(LEFT, 1)], [], {(1, 1): 1, (NOTHING, 1): 1}),
        ([(LEFT, 2)], [(LEFT, 1)], [], {(1, 2): 1}),
        # An object goes to a detection of its class, even if one of another class scores higher.
        ([(LEFT, 2), (LEFT, 1)], [(LEFT, 1)], [], {(1, 1): 1, (NOTHING, 2): 1}),
        ([(FAR, 1)], [(LEFT, 1), (RIGHT, 1)], [], {(NOTHING, 1): 1, (1, NOTHING): 2}),
        # An IoU of exactly a half suffices; one below does not.
        ([([0, 0, 10, 5], 0)], [(LEFT, 0)], [], {(0, 0): 1}),
        ([([0, 0, 10, 4.9], 0)], [(LEFT, 0)], [], {(0, NOTHING): 1, (NOTHING, 0): 1}),
        # A crowd takes any number of detections of its class, also ones much smaller than it.
        ([([1, 1, 2, 2], 0), ([3, 3, 4, 4], 0), ([5, 5, 6, 6], 1)], [], [(LEFT, 0)], {(NOTHING, 1): 1}),
        ([(LEFT, 0)], [(LEFT, 0)], [(LEFT, 0)], {(0, 0): 1}),
    ],
)
def test_match_boxes_gives_each_detection_and_object_one_pair(found, objects, ignored, expected):
    assert match_boxes(boxes(*found), boxes(*objects), boxes(*ignored)) == expected


def test_match_boxes_takes_the_object_with_the_highest_overlap():
    objects = boxes(([0, 0, 10, 12], 3), ([0, 0, 10, 10.5], 3))
    assert match_boxes(boxes(([0, 0, 10, 10], 3), ([0, 0, 10, 12], 3)), objects, boxes()) == {(3, 3): 2}
    # The first detection takes the second object, which leaves the first object to the second detection.
    assert match_boxes(boxes(([0, 0, 10, 10], 3)), objects, boxes(), iou_thr=0.9) == {(3, 3): 1, (3, NOTHING): 1}


def test_correct_detections_are_those_that_coco_matches(capsys):
    """Clustered random boxes of three classes, with crowds: the same counts as in pycocotools' evaluation at 0.5."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    rng = np.random.default_rng(0)

    def draw(count):
        corners = rng.integers(0, 25, (count, 2))
        return np.concatenate([corners, corners + rng.integers(8, 16, (count, 2))], axis=1), rng.integers(0, 3, count)

    for _ in range(10):
        (objects, labels), (found, predicted), (crowds, crowd_labels) = draw(12), draw(20), draw(2)
        coco = COCO()
        annotations = [
            dict(id=i + 1, image_id=1, category_id=int(label), bbox=[*box[:2], *(box[2:] - box[:2])], iscrowd=crowd)
            for i, (box, label, crowd) in enumerate(
                zip([*objects, *crowds], [*labels, *crowd_labels], [0] * len(objects) + [1] * len(crowds))
            )
        ]
        for annotation in annotations:
            annotation['area'] = float(annotation['bbox'][2] * annotation['bbox'][3])
        coco.dataset = dict(images=[dict(id=1)], annotations=annotations, categories=[dict(id=i) for i in range(3)])
        coco.createIndex()
        results = [
            dict(image_id=1, category_id=int(label), bbox=[*box[:2], *(box[2:] - box[:2])], score=1 - i / 100)
            for i, (box, label) in enumerate(zip(found, predicted))
        ]
        evaluation = COCOeval(coco, coco.loadRes(results), 'bbox')
        evaluation.params.iouThrs = np.array([0.5])
        evaluation.evaluate()
        pairs = match_boxes(Boxes(found, predicted), Boxes(objects, labels), Boxes(crowds, crowd_labels))
        for image in evaluation.evalImgs[:: len(evaluation.params.areaRng)]:
            label = image['category_id']
            counted = ~image['dtIgnore'][0].astype(bool)
            assert pairs[label, label] == (image['dtMatches'][0][counted] > 0).sum()
            # Detections that COCO ignores are in no pair.
            assert sum(n for (_, column), n in pairs.items() if column == label) == counted.sum()
            assert sum(n for (row, _), n in pairs.items() if row == label) == (labels == label).sum()
    capsys.readouterr()
