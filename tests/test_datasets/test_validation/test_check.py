"""Checks of a data set as a whole: by its config, and of folders without one."""

import shutil

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from mmrest.datasets.validation import Report
from mmrest.datasets.validation.check import check_coco_files, check_config, check_label_maps, pair_label_maps

pytest.importorskip('mmdet')
pytest.importorskip('mmcv._ext')


@pytest.fixture
def damaged(shapes, tmp_path):
    """A copy of the data set, to be damaged."""
    return shutil.copytree(shapes, tmp_path / 'data')


def test_check_label_maps_and_coco_files_report_faults_in_folders(damaged):
    report = Report(examples=1)
    labels = sorted((damaged / 'labels/train').iterdir())[3]
    values = np.asarray(Image.open(labels)).copy()
    values[3, 5] = 9
    Image.fromarray(values).save(labels)
    (damaged / 'labels/train/extra.png').write_bytes(labels.read_bytes())
    pairs = pair_label_maps(damaged / 'images/train', damaged / 'labels/train', report)
    check_label_maps(pairs, 5, report)
    assert report.errors['label map with invalid labels']['count'] == 1
    assert report.warnings['label map without an image (skipped)']['count'] == 1
    report = Report()
    check_label_maps(pairs, 4, report, reduce_zero_label=True)
    assert list(report.errors['label map with invalid labels']['examples']) == [
        f'{labels} has the values 8: there are 4 classes, 0 to 3, and 255 for ignored pixels'
    ]
    report = Report()
    check_coco_files(damaged / 'annotations/instances_val.json', damaged / 'images/val', report)
    assert not report.errors and report.checked['images read'] == 4
    assert 'grayscale' not in str(report)


def test_check_config_without_images_reports_an_error(damaged):
    file = damaged / 'annotations/instances_train.json'
    file.write_text('{"images": [], "annotations": [], "categories": []}')
    report = Report()
    dataset = dict(
        type='CocoDataset',
        data_root=f'{damaged}/',
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='images/train/'),
        metainfo=dict(classes=('disc',)),
        pipeline=[],
    )
    cfg = Config(dict(default_scope='mmdet', train_dataloader=dict(dataset=dataset)))
    check_config(cfg, ['train'], report)
    assert 'dataset without images' in report.errors
