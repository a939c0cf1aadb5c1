"""Data sets with checks built in."""

import pickle
from copy import deepcopy

import pytest
from mmengine.registry import DATASETS, init_default_scope

from mmrest.datasets import CLASSES
from mmrest.datasets.validation import DataError, dataset_errors, validate_dataset, with_coco_checks

pytest.importorskip('mmdet')
pytest.importorskip('mmcv._ext')


@pytest.mark.parametrize('serialize', [True, False])
def test_voc_dataset_unmatched_classes_raise_with_both_names(tmp_path, serialize):
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


def test_checked_coco_dataset_pickles_as_its_own_class(shapes):
    from mmdet.datasets import CocoDataset

    init_default_scope('mmdet')
    config = dict(
        type='CocoDataset',
        data_root=f'{shapes}/',
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='images/train/'),
        metainfo=dict(classes=CLASSES),
        pipeline=[],
    )
    dataset = DATASETS.build(with_coco_checks(config))
    assert isinstance(dataset, CocoDataset) and type(dataset).__name__ == 'CocoDataset' and len(dataset) == 10
    assert type(pickle.loads(pickle.dumps(dataset))) is CocoDataset is type(deepcopy(dataset))
    assert CocoDataset.COCOAPI.__name__ == 'COCO' and config['type'] == 'CocoDataset'
    plain = DATASETS.build(config)
    assert [dataset.get_data_info(i) for i in range(10)] == [plain.get_data_info(i) for i in range(10)]
