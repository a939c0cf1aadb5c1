"""Checks of COCO annotations that need no image: segmentations, with masks in use and without."""

import json
import shutil

import pytest

from mmrest.datasets.validation import Report
from mmrest.datasets.validation.coco import check_coco


@pytest.fixture
def damaged(shapes, tmp_path):
    """A copy of the data set, to be damaged."""
    return shutil.copytree(shapes, tmp_path / 'data')


@pytest.mark.parametrize(
    'segmentation, fault',
    [
        ([[1, 2, 3, 4]], 'polygon with fewer than three points (skipped)'),
        ([[1, 2, 3, 4, 5, '6']], 'segmentation is neither polygons nor RLE'),
        ([1, 2, 3, 4, 5, 6], 'segmentation is neither polygons nor RLE'),
        ('none', 'segmentation is neither polygons nor RLE'),
        (dict(size=[64], counts=[1]), 'segmentation is neither polygons nor RLE'),
        (dict(size=[64, 64], counts=[1.5]), 'segmentation is neither polygons nor RLE'),
    ],
)
def test_check_coco_bad_segmentation_counts_only_with_masks(damaged, segmentation, fault):
    content = json.loads((damaged / 'annotations/instances_train.json').read_text())
    good = Report()
    check_coco(content, 'a.json', good)
    assert not good.errors and len(good.warnings) == 1
    content['annotations'][0]['segmentation'] = segmentation
    masks, boxes = Report(), Report()
    check_coco(content, 'a.json', masks)
    check_coco(content, 'a.json', boxes, masks=False)
    assert fault in {**masks.errors, **masks.warnings} and fault not in {**boxes.errors, **boxes.warnings}


@pytest.mark.parametrize('lacking', [None, [], {}])
def test_check_coco_missing_segmentation_counts_only_with_masks(damaged, lacking):
    """An error where masks are used, whether crowd or not; a box that is left out needs none."""
    content = json.loads((damaged / 'annotations/instances_train.json').read_text())
    content['annotations'][0]['segmentation'] = lacking
    content['annotations'][1].pop('segmentation')
    content['annotations'][2].update(bbox=[9, 9, 0, 9], segmentation=lacking)
    masks, boxes = Report(), Report()
    check_coco(content, 'a.json', masks)
    check_coco(content, 'a.json', boxes, masks=False)
    assert masks.errors['object without a segmentation']['count'] == 2 and not boxes.errors


def test_check_coco_missing_areas_are_the_only_finding(shapes):
    content = json.loads((shapes / 'annotations/instances_train.json').read_text())
    good, report = Report(), Report()
    check_coco(content, 'a.json', good)
    for annotation in content['annotations']:
        del annotation['area']
    check_coco(content, 'a.json', report)
    first, *others = report.errors['area is missing']['examples']
    assert "a['area'] = a['bbox'][2] * a['bbox'][3]" in first and not any("['area']" in other for other in others)
    assert report.num_errors == len(content['annotations']) and report.warnings == good.warnings
