"""Checks of a data set as a whole: by its config, and of folders without one."""

import json
import shutil

import numpy as np
import pytest
from conftest import need_mmpretrain
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


def det_config(root, **options):
    dataset = dict(
        type='CocoDataset',
        data_root=f'{root}/',
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='images/train/'),
        metainfo=dict(classes=('disc', 'square', 'triangle')),
        pipeline=[dict(type='LoadImageFromFile'), dict(type='PackDetInputs')],
    )
    return dict(dataset, **options)


def seg_config(root, labels):
    return dict(
        type='BaseSegDataset',
        data_root=str(root),
        seg_map_suffix='.png',
        img_suffix='.png',
        metainfo=dict(classes=('background', 'disc', 'square', 'triangle', 'ring'), palette=[[0, 0, 0]] * 5),
        data_prefix=dict(img_path='images/train', seg_map_path=labels),
        pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')],
    )


def absent(dataset, scope, phase='train'):
    """Classes that no image shows, by the report."""
    report = Report(examples=10)
    check_config(Config({'default_scope': scope, f'{phase}_dataloader': dict(dataset=dataset)}), [phase], report)
    assert not report.errors
    return report.warnings.get('class that no training image shows', {}).get('examples', [])


def without(path, name):
    """Delete the annotations of a category."""
    content = json.loads(path.read_text())
    number = next(each['id'] for each in content['categories'] if each['name'] == name)
    content['annotations'] = [each for each in content['annotations'] if each['category_id'] != number]
    path.write_text(json.dumps(content))


def test_check_config_class_without_boxes_is_named(damaged):
    assert absent(det_config(damaged), 'mmdet') == []
    file = damaged / 'annotations/instances_train.json'
    shutil.copy(file, damaged / 'annotations/whole.json')
    without(file, 'square')
    assert absent(det_config(damaged), 'mmdet') == ['square']
    assert absent(det_config(damaged), 'mmdet', 'val') == []
    both = [det_config(damaged), det_config(damaged, ann_file='annotations/whole.json')]
    assert absent(dict(type='ConcatDataset', datasets=both), 'mmdet') == []


def test_check_config_class_without_pixels_is_named(damaged):
    pytest.importorskip('mmseg')
    assert absent(seg_config(damaged, 'labels/train'), 'mmseg') == []
    for path in (damaged / 'labels/train').iterdir():
        values = np.asarray(Image.open(path)).copy()
        values[values == 3] = 255
        Image.fromarray(values).save(path)
    assert absent(seg_config(damaged, 'labels/train'), 'mmseg') == ['triangle']


def test_check_config_class_without_images_is_named(damaged):
    need_mmpretrain()
    folder = damaged / 'folders'
    images = sorted((damaged / 'images/train').iterdir())
    for name, path in zip('aab', images):
        (folder / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / name)
    dataset = dict(
        type='CustomDataset',
        data_prefix=str(folder),
        metainfo=dict(classes=('a', 'b')),
        pipeline=[dict(type='LoadImageFromFile')],
    )
    assert absent(dataset, 'mmpretrain') == []
    (folder / 'list.txt').write_text(f'a/{images[0].name} 0\na/{images[1].name} 0\n')
    assert absent(dict(dataset, ann_file=str(folder / 'list.txt')), 'mmpretrain') == ['b']
