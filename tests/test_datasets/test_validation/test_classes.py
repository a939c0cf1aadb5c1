"""Names of classes in a config beside those in its data: each message has both."""

from __future__ import annotations

import re

import pytest
from conftest import need_mmpretrain
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope

from mmrest.datasets.validation import (
    DataError,
    Report,
    find_wrong_classes,
    with_coco_checks,
)
from mmrest.datasets.validation.check import check_config
from mmrest.engine import UsageError
from mmrest.engine.data import check_consistency

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')
pytest.importorskip('mmcv._ext')


def coco(shapes, classes, **options):
    return dict(
        type='CocoDataset',
        data_root=f'{shapes}/',
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='images/train/'),
        metainfo=dict(classes=classes),
        pipeline=[],
        **options,
    )


@pytest.mark.parametrize(
    'classes, missing',
    [
        (('Disc', 'disk'), 'Disc, disk of the classes in the config .* are not'),
        (('disc', 'circle'), 'circle of the classes in the config .* is not'),
    ],
)
@pytest.mark.parametrize(
    'wrap', [lambda dataset: dataset, lambda dataset: dict(type='RepeatDataset', times=2, dataset=dataset)]
)
def test_coco_categories_unlike_the_classes_raise(shapes, classes, missing, wrap):
    init_default_scope('mmdet')
    config = wrap(coco(shapes, classes, filter_cfg=dict(filter_empty_gt=True)))
    with pytest.raises(DataError, match=f'{missing} in the file, which has disc, square, triangle, star') as error:
        DATASETS.build(with_coco_checks(config))
    assert str(error.value).count('check_samples=False') == 1
    report = Report()
    check_config(Config(dict(default_scope='mmdet', train_dataloader=dict(dataset=config))), ['train'], report)
    assert re.search(missing, report.errors['class without a category']['examples'][0])
    assert ('num_classes=4 in the model' in str(report)) == ('disc' not in classes)
    assert list(report.errors) == ['class without a category']  # which is why no image is left


def test_check_config_classes_as_text_is_the_only_error(shapes):
    model = dict(bbox_head=dict(num_classes=1))
    cfg = dict(default_scope='mmdet', model=model, train_dataloader=dict(dataset=coco(shapes, ('disc'))))
    report = Report()
    check_config(Config(cfg), ['train'], report)
    assert list(report.errors) == ['classes that the dataset type does not have'] and report.num_errors == 1


@pytest.mark.parametrize(
    'classes, mixed',
    [
        (('disc', 'square', 'star', 'triangle'), True),
        (('disc', 'square'), True),
        (('disc', 'square', 'triangle', 'star'), False),
    ],
)
@pytest.mark.parametrize('kind, scope', [('CocoDataset', 'mmdet'), ('BaseSegDataset', 'mmseg')])
def test_mixed_classes_in_training_parts_raise(classes, mixed, kind, scope):
    parts = [
        dict(type=kind, data_root=folder, metainfo=dict(classes=names))
        for folder, names in (('one', ('disc', 'square', 'triangle', 'star')), ('two', classes))
    ]
    wrapped = dict(type='RepeatDataset', times=2, dataset=parts[1])
    cfg = Config(
        dict(
            default_scope=scope, train_dataloader=dict(dataset=dict(type='ConcatDataset', datasets=[parts[0], wrapped]))
        )
    )
    if not mixed:
        check_consistency(cfg, ['train'])
        return
    said = f'{kind} one has disc, square, triangle, star, {kind} two has {", ".join(classes)}'
    with pytest.raises(UsageError, match=said):
        check_consistency(cfg, ['train'])
    report = Report()
    check_config(cfg, ['train'], report)
    examples = [error['examples'][0] for error in report.errors.values()]
    assert [text for text in examples if said in text], examples
    cfg.check_samples = False
    check_consistency(cfg, ['train'])


@pytest.mark.parametrize(
    'dataset, scope, said',
    [
        (
            dict(type='CocoDataset', metainfo=dict(classes=('disc'))),
            'mmdet',
            r"the string 'disc'.* mean \('disc',\)\?.* write a tuple",
        ),
        (
            dict(type='ADE20KDataset', metainfo=dict(classes=('wall', 'disc', 'star'))),
            'mmseg',
            'ADE20KDataset has no class disc, star .*; it has wall, building',
        ),
        (
            dict(type='RepeatDataset', dataset=dict(type='CityscapesDataset', metainfo=dict(classes=['Road']))),
            'mmseg',
            'CityscapesDataset has no class Road .*; it has road',
        ),
    ],
)
def test_unknown_class_of_a_dataset_raises(dataset, scope, said):
    cfg = Config(dict(default_scope=scope, train_dataloader=dict(dataset=dataset)))
    with pytest.raises(UsageError, match=said) as error:
        check_consistency(cfg, ('train',))
    assert str(error.value).count('check_samples=False') == 1
    cfg.check_samples = False
    check_consistency(cfg, ('train',))


@pytest.mark.parametrize(
    'dataset',
    [
        dict(type='ADE20KDataset', metainfo=dict(classes=('wall', 'sky'))),
        dict(type='BaseSegDataset', metainfo=dict(classes=('disc', 'star'))),
        dict(type='ADE20KDataset'),
    ],
)
def test_find_wrong_classes_known_classes_gives_none(dataset):
    assert not find_wrong_classes([dataset], 'mmseg')


@pytest.mark.parametrize(
    'classes, said',
    [
        (('cat', 'dog', 'cow'), 'the 3 classes cat, dog, cow .* has 2 folders: cat, dog'),
        (
            ('dog', 'cat'),
            r"is dog, cat, but labels are the folders of .*: write metainfo = dict\(classes=\('cat', 'dog'",
        ),
        (('cat', 'hound'), r"write metainfo = dict\(classes=\('cat', 'dog'\)\)"),
        (('cat', 'dog'), None),
        (('Katze', 'Hund'), None),  # names for the folders, as ImageNet has them
        (None, None),
    ],
)
@pytest.mark.parametrize(
    'options',
    [dict(data_root='animals'), dict(data_prefix='animals'), dict(data_root='.', data_prefix=dict(img_path='animals'))],
)
def test_find_wrong_classes_compares_with_folders(tmp_path, monkeypatch, classes, said, options):
    need_mmpretrain()
    for name in ('cat', 'dog'):
        (tmp_path / 'animals' / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    config = dict(type='CustomDataset', **options, **({'metainfo': dict(classes=classes)} if classes else {}))
    found = find_wrong_classes([config], 'mmpretrain')
    assert len(found) == bool(said) and (not said or re.search(said, found[0]))
    assert not find_wrong_classes([dict(config, ann_file='list.txt')], 'mmpretrain')
