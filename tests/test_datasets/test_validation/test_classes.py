"""Names of classes in a config beside those in its data: each message has both."""

from __future__ import annotations

import re
import shutil

import pytest
from conftest import need_mmpretrain
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope

from mmrest.datasets.validation import (
    DataError,
    Report,
    dataset_errors,
    find_wrong_classes,
    validate_dataset,
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
def test_categories_of_a_json(shapes, classes, missing, wrap):
    init_default_scope('mmdet')
    config = wrap(coco(shapes, classes, filter_cfg=dict(filter_empty_gt=True)))
    with pytest.raises(DataError, match=f'{missing} in the file, which has disc, square, triangle, star') as error:
        DATASETS.build(with_coco_checks(config))
    assert str(error.value).count('check_samples=False') == 1
    report = Report()
    check_config(Config(dict(default_scope='mmdet', train_dataloader=dict(dataset=config))), ['train'], report)
    assert re.search(missing, report.errors['class without a category']['examples'][0])


@pytest.mark.parametrize(
    'classes, mixed',
    [
        (('disc', 'square', 'star', 'triangle'), True),
        (('disc', 'square'), True),
        (('disc', 'square', 'triangle', 'star'), False),
    ],
)
@pytest.mark.parametrize('kind, scope', [('CocoDataset', 'mmdet'), ('BaseSegDataset', 'mmseg')])
def test_parts_of_the_training_data_have_the_same_classes_in_the_same_order(classes, mixed, kind, scope):
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
    assert any(said in error['examples'][0] for error in report.errors.values())
    cfg.check_samples = False
    check_consistency(cfg, ['train'])


@pytest.mark.parametrize(
    'dataset, scope, said',
    [
        (dict(type='CocoDataset', metainfo=dict(classes=('disc'))), 'mmdet', r"the text 'disc'.* write a tuple"),
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
def test_classes_that_no_such_dataset_has(dataset, scope, said):
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
def test_classes_that_it_has(dataset):
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
def test_folders(tmp_path, monkeypatch, classes, said, options):
    need_mmpretrain()
    for name in ('cat', 'dog'):
        (tmp_path / 'animals' / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    config = dict(type='CustomDataset', **options, **({'metainfo': dict(classes=classes)} if classes else {}))
    found = find_wrong_classes([config], 'mmpretrain')
    assert len(found) == bool(said) and (not said or re.search(said, found[0]))
    assert not find_wrong_classes([dict(config, ann_file='list.txt')], 'mmpretrain')


@pytest.mark.parametrize('serialize', [True, False])
def test_objects_in_xml_files(tmp_path, serialize):
    """A data set whose names match nothing is empty: the error has those of both sides."""
    init_default_scope('mmdet')
    folder = tmp_path / 'VOC2007'
    (folder / 'Annotations').mkdir(parents=True)
    (folder / 'Annotations/1.xml').write_text(
        '<annotation><size><width>9</width><height>9</height></size><object><name>disk</name><bndbox><xmin>1</xmin>'
        '<ymin>1</ymin><xmax>8</xmax><ymax>8</ymax></bndbox></object></annotation>'
    )
    (tmp_path / 'list.txt').write_text('1\n')
    config = dict(
        type='VOCDataset',
        data_root=str(tmp_path),
        ann_file='list.txt',
        pipeline=[],
        data_prefix=dict(sub_data_root='VOC2007/'),
        metainfo=dict(classes=('disc',)),
        filter_cfg=dict(filter_empty_gt=True),
        serialize_data=serialize,
    )
    with pytest.raises(DataError, match=r'No image to use.*metainfo.classes. are disc; the files in .* have disk\.'):
        with dataset_errors([config]):
            dataset = DATASETS.build(config)
        validate_dataset(dataset)


def test_the_class_of_a_checked_dataset(shapes):
    """It has the name of the one that it stands for, and is copied and pickled as that."""
    import pickle
    from copy import deepcopy

    from mmdet.datasets import CocoDataset

    init_default_scope('mmdet')
    config = coco(shapes, ('disc', 'square', 'triangle', 'star'))
    dataset = DATASETS.build(with_coco_checks(config))
    assert isinstance(dataset, CocoDataset) and type(dataset).__name__ == 'CocoDataset' and len(dataset) == 10
    assert type(pickle.loads(pickle.dumps(dataset))) is CocoDataset is type(deepcopy(dataset))
    assert CocoDataset.COCOAPI.__name__ == 'COCO' and config['type'] == 'CocoDataset'
    plain = DATASETS.build(config)
    assert [dataset.get_data_info(i) for i in range(10)] == [plain.get_data_info(i) for i in range(10)]


def test_no_images_in_a_folder(shapes, tmp_path):
    data = shutil.copytree(shapes, tmp_path / 'data')
    file = data / 'annotations/instances_train.json'
    file.write_text('{"images": [], "annotations": [], "categories": []}')
    report = Report()
    cfg = Config(dict(default_scope='mmdet', train_dataloader=dict(dataset=coco(data, ('disc',)))))
    check_config(cfg, ['train'], report)
    assert 'dataset without images' in report.errors
