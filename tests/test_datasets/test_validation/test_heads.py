"""Numbers of classes in heads of every framework, beside those of the data."""

from __future__ import annotations

import json
import re

import pytest
from conftest import need_mmpretrain
from mmengine.config import Config

from mmrest.datasets.validation import Report, find_wrong_heads
from mmrest.datasets.validation.check import check_config
from mmrest.engine import UsageError
from mmrest.engine.data import check_consistency

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

COCO = dict(type='CocoDataset', metainfo=dict(classes=('a', 'b', 'c', 'd')))


@pytest.mark.parametrize(
    'model, wrong',
    [
        (dict(bbox_head=dict(num_classes=80)), {'model.bbox_head.num_classes': 80}),
        (dict(bbox_head=dict(num_classes=3)), {'model.bbox_head.num_classes': 3}),
        (
            dict(
                rpn_head=dict(num_classes=1),
                roi_head=dict(bbox_head=dict(num_classes=4), mask_head=dict(num_classes=80)),
            ),
            {'model.roi_head.mask_head.num_classes': 80},
        ),
        (
            dict(roi_head=dict(bbox_head=[dict(num_classes=4), dict(num_classes=80)])),
            {'model.roi_head.bbox_head.1.num_classes': 80},
        ),
        (
            dict(detector=dict(bbox_head=dict(num_classes=80, loss_cls=dict(num_classes=9)))),
            {'model.detector.bbox_head.num_classes': 80},
        ),
        (dict(roi_head=dict(bbox_head=dict(num_classes=4), semantic_head=dict(num_classes=183))), {}),
        (dict(roi_head=dict(mask_head=dict(num_classes=1, class_agnostic=True))), {}),
        (dict(panoptic_head=dict(type='MaskFormerHead', num_things_classes=4, num_stuff_classes=0)), {}),
        (dict(language_model=dict(type='BertModel'), bbox_head=dict(num_classes=256)), {}),
        (dict(bbox_head=dict(num_classes=4)), {}),
        (None, {}),
    ],
)
def test_find_wrong_heads_detector_names_each(model, wrong):
    found = find_wrong_heads(model, [COCO], 'mmdet')
    assert len(found) == len(wrong)
    for text, (path, number) in zip(found, wrong.items()):
        assert text.startswith(f'{path} is {number}, but CocoDataset has 4 classes (a, b, c, d): set {path}=4')


@pytest.mark.parametrize(
    'number, advice', [(2, 'model.bbox_head.num_classes is right then'), (5, 'and set model.bbox_head.num_classes=2')]
)
def test_find_wrong_heads_forgotten_classes_are_shown_first(tmp_path, number, advice):
    content = dict(images=[], annotations=[], categories=[dict(id=7, name='hut'), dict(id=3, name='boat')])
    (tmp_path / 'ann.json').write_text(json.dumps(content))
    data = dict(type='CocoDataset', data_root=str(tmp_path), ann_file='ann.json')
    (found,) = find_wrong_heads(dict(bbox_head=dict(num_classes=number)), [data], 'mmdet')
    assert "Write metainfo=dict(classes=('hut', 'boat')) into the dataset" in found and advice in found
    (tmp_path / 'ann.json').write_text('{')
    (found,) = find_wrong_heads(dict(bbox_head=dict(num_classes=number)), [data], 'mmdet')
    assert 'set model.bbox_head.num_classes=80, or metainfo.classes' in found


def test_find_wrong_heads_segmentor_and_classifier_names_each():
    data = dict(type='BaseSegDataset', metainfo=dict(classes=('a', 'b')))
    model = dict(decode_head=dict(num_classes=2), auxiliary_head=[dict(num_classes=2), dict(num_classes=19)])
    (found,) = find_wrong_heads(model, [data], 'mmseg')
    assert 'model.auxiliary_head.1.num_classes is 19' in found
    assert len(find_wrong_heads(dict(decode_head=dict(num_classes=2)), [dict(type='ADE20KDataset')], 'mmseg')) == 1
    need_mmpretrain()
    model = dict(head=dict(num_classes=1000))
    assert not find_wrong_heads(model, [dict(type='ImageNet', data_root='x')], 'mmpretrain')
    assert not find_wrong_heads(model, [dict(type='CustomDataset', data_root='x')], 'mmpretrain')  # names of folders
    (found,) = find_wrong_heads(model, [dict(type='ImageNet', metainfo=dict(classes=('a', 'b')))], 'mmpretrain')
    assert 'model.head.num_classes is 1000, but ImageNet has 2 classes' in found


@pytest.mark.parametrize(
    'name',
    [
        'retinanet_rest_lite_fpn_shapes',
        'upernet_rest_lite_shapes',
        'mask_rcnn_rest_lite_fpn_shapes',
        'mask_rcnn_restv2_tiny_fpn_1x_coco',
        'upernet_restv2_tiny_512x512_160k_ade20k',
        'rest_lite_8xb256_in1k',
    ],
)
def test_check_consistency_own_config_passes(repo, name):
    if name.endswith('in1k'):
        need_mmpretrain()
    check_consistency(Config.fromfile(repo / f'configs/{name}.py'), ('train', 'val', 'test'))


def test_wrong_head_is_refused_before_a_run_and_reported_by_check(repo):
    cfg = Config.fromfile(repo / 'configs/retinanet_rest_lite_fpn_shapes.py')
    cfg.model.bbox_head.num_classes = 80
    message = r'model\.bbox_head\.num_classes is 80, but CocoDataset has 4 classes \(disc, square, triangle, star\)'
    with pytest.raises(UsageError, match=message):
        check_consistency(cfg, ('train',))
    report = Report()
    check_config(cfg, ['train'], report)
    assert re.match(message, report.errors['head with a wrong number of classes']['examples'][0])
    check_consistency(Config(dict(cfg, check_samples=False)), ('train',))
