"""The check takes what a run takes, and names what a run stops at, whatever reads the images."""

from __future__ import annotations

import io
import shutil
import zipfile
from copy import deepcopy

import cv2
import numpy as np
import pytest
from conftest import need_mmpretrain
from mmengine.config import Config
from mmengine.fileio import LocalBackend, register_backend
from mmengine.registry import DATASETS, TRANSFORMS, init_default_scope
from PIL import Image

from mmrest.datasets.validation import DataError, Report, dataset_errors, validate_dataset, with_coco_checks
from mmrest.datasets.validation.check import check_coco_files, check_config
from mmrest.datasets.validation.samples import LoadingPipeline, check_samples

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')
pytest.importorskip('mmcv._ext')

CLASSES = ('disc', 'square', 'triangle', 'star')
SEG = dict(metainfo=dict(classes=('background', *CLASSES), palette=[[i, i, i] for i in range(5)]))
LOAD, BOXES = dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True)


@TRANSFORMS.register_module(force=True)
class ReadBands:
    """Five channels from a .npy file."""

    def __call__(self, data):
        data['img'] = np.load(data['img_path'])
        data['img_shape'] = data['ori_shape'] = data['img'].shape[:2]
        return data


@TRANSFORMS.register_module(force=True)
class ReadClasses:
    """A label map from a .npy file."""

    def __call__(self, data):
        data['gt_seg_map'] = np.load(data['seg_map_path'])
        data['seg_fields'].append('gt_seg_map')
        return data


@TRANSFORMS.register_module(force=True)
class TakeFrame:
    """The image that another program hands over under its name."""

    def __call__(self, data):
        data['img'] = np.zeros((64, 64, 3), np.uint8)
        return data


@register_backend('first_zip', force=True)
class ZipBackend(LocalBackend):
    """Files in images.zip, which is in the place of their folder."""

    def get(self, filepath):
        folder, _, name = str(filepath).rpartition('/')
        with zipfile.ZipFile(folder + '.zip') as file:
            return file.read(name)


@pytest.fixture
def data(shapes, tmp_path):
    return shutil.copytree(shapes, tmp_path / 'data')


def rename(root, suffix, save):
    """Store the training images of a set in another way."""
    for path in sorted((root / 'images/train').iterdir()):
        save(np.asarray(Image.open(path).convert('RGB')), path.with_suffix(suffix))
        if path.suffix != suffix:
            path.unlink()
    file = root / 'annotations/instances_train.json'
    file.write_text(file.read_text().replace('.png"', f'{suffix}"'))


def five_bands(root):
    rename(root, '.npy', lambda image, path: np.save(path, np.concatenate([image, image[..., :2]], 2)))


def sixteen_bits(root):
    rename(root, '.png', lambda image, path: cv2.imwrite(str(path), image.astype(np.uint16) * 257))


def float_tiff(root):
    rename(root, '.tiff', lambda image, path: cv2.imwrite(str(path), image.astype(np.float32) / 255))


def zipped(root):
    with zipfile.ZipFile(root / 'images/train.zip', 'w') as file:
        for path in (root / 'images/train').iterdir():
            file.write(path, path.name)
    shutil.rmtree(root / 'images/train')


def untouched(root):
    pass


def detection(root, pipeline, **options):
    return dict(
        type='CocoDataset',
        data_root=f'{root}/',
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='images/train/'),
        metainfo=dict(classes=CLASSES),
        serialize_data=False,
        pipeline=[*pipeline, dict(type='PackDetInputs')],
        **options,
    )


def segmentation(root, pipeline, **options):
    return (
        dict(
            type='BaseSegDataset',
            data_root=str(root),
            seg_map_suffix='.png',
            img_suffix='.png',
            **SEG,
            data_prefix=dict(img_path='images/train', seg_map_path='labels/train'),
            serialize_data=False,
            pipeline=[*pipeline, dict(type='PackSegInputs')],
        )
        | options
    )


def check(dataset, scope='mmdet'):
    report = Report()
    check_config(Config(dict(default_scope=scope, train_dataloader=dict(dataset=deepcopy(dataset)))), ['train'], report)
    return report


def run(dataset, scope='mmdet'):
    """Load all samples as a run does."""
    init_default_scope(scope)
    with dataset_errors([dataset]):
        built = DATASETS.build(with_coco_checks(deepcopy(dataset)))
    validate_dataset(built)
    return [built[index] for index in range(len(built))]


@pytest.mark.parametrize(
    'store, load',
    [
        (five_bands, dict(type='ReadBands')),
        (untouched, dict(LOAD, imdecode_backend='pillow')),
        (untouched, dict(LOAD, to_float32=True)),
        (untouched, dict(LOAD, color_type='grayscale')),
        (sixteen_bits, dict(LOAD, color_type='unchanged')),
        (float_tiff, dict(LOAD, color_type='unchanged', to_float32=True)),
        (zipped, dict(LOAD, backend_args=dict(backend='first_zip'))),
        (lambda root: shutil.rmtree(root / 'images/train'), dict(type='TakeFrame')),
    ],
    ids=['npy', 'pillow', 'float32', 'gray', '16 bits', 'float tiff', 'zip', 'no file'],
)
def test_check_samples_loadable_dataset_passes(data, store, load):
    store(data)
    dataset = detection(data, [load, BOXES])
    assert len(run(dataset)) == 10
    report = check(dataset)
    assert not report.errors and report.checked['images read'] == 10, str(report)
    assert [kind for kind in report.warnings if 'image of' in kind] == []


@pytest.mark.parametrize(
    'store, load, damage, fault',
    [
        (
            five_bands,
            dict(type='ReadBands'),
            lambda path: path.write_bytes(path.read_bytes()[:300]),
            'cannot be loaded',
        ),
        (five_bands, dict(type='ReadBands'), lambda path: path.unlink(), 'there is no such file'),
        (five_bands, dict(type='ReadBands'), lambda path: np.save(path, np.zeros((9, 9, 5))), 'has 9x9 px'),
        (float_tiff, dict(LOAD, color_type='unchanged'), lambda path: path.write_bytes(b'II*'), 'cannot be loaded'),
        (untouched, dict(LOAD, imdecode_backend='pillow'), lambda path: path.write_bytes(b'x'), 'cannot be loaded'),
    ],
)
def test_check_samples_broken_image_is_named(data, store, load, damage, fault):
    store(data)
    path = sorted((data / 'images/train').iterdir())[3]
    damage(path)
    dataset = detection(data, [load, BOXES])
    with pytest.raises(DataError, match=f'{path} .*{fault}'):
        run(dataset)
    findings = [example for found in check(dataset).errors.values() for example in found['examples']]
    assert len(findings) == 1 and findings[0].startswith(str(path)) and fault in findings[0]


@pytest.mark.parametrize(
    'wrap',
    [
        lambda dataset: dict(type='RepeatDataset', times=2, dataset=dataset),
        lambda dataset: dict(type='ConcatDataset', datasets=[dataset]),
        lambda dataset: dict(
            type='MultiImageMixDataset',
            dataset={**dataset, 'pipeline': dataset['pipeline'][:-1]},
            pipeline=[dict(type='mmdet.RandomFlip', prob=1.0), dict(type='PackDetInputs')],
        ),
        lambda dataset: dict(type='RepeatDataset', times=2, dataset=dict(type='ConcatDataset', datasets=[dataset])),
    ],
)
def test_check_samples_wrapped_dataset_names_the_image(data, wrap):
    five_bands(data)
    path = sorted((data / 'images/train').iterdir())[3]
    good = wrap(detection(data, [dict(type='ReadBands'), BOXES]))
    assert not check(good).errors
    path.write_bytes(b'')
    assert check(good).errors['image cannot be read']['examples'] == [f'{path} is empty']
    with pytest.raises(DataError, match='is empty'):
        init_default_scope('mmdet')
        built = DATASETS.build(with_coco_checks(deepcopy(good)))
        validate_dataset(built)
        [built[index] for index in range(len(built))]


def test_check_samples_image_over_pillow_limit_passes(data, monkeypatch):
    """Pillow refuses what it takes for an attack; OpenCV reads it, also with bytes after its end."""
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 1000)
    path = sorted((data / 'images/train').iterdir())[3]
    path.write_bytes(path.read_bytes() + bytes(100))
    dataset = detection(data, [LOAD, BOXES])
    assert len(run(dataset)) == 10 and not check(dataset).errors
    report = Report()
    check_coco_files(data / 'annotations/instances_train.json', data / 'images/train', report)
    assert not report.errors and report.checked['images read'] == 10


def test_check_samples_own_label_format_is_checked(data):
    maps = sorted((data / 'labels/train').iterdir())
    for path in maps:
        np.save(path.with_suffix('.npy'), np.asarray(Image.open(path)))
        path.unlink()
    dataset = segmentation(
        data, [LOAD, dict(type='Resize', scale=(32, 32)), dict(type='ReadClasses')], seg_map_suffix='.npy'
    )
    assert len(run(dataset, 'mmseg')) == 10
    report = check(dataset, 'mmseg')
    assert not report.errors and report.checked['label maps read'] == 10
    path = maps[2].with_suffix('.npy')
    np.save(path, np.full((64, 64), 7))
    with pytest.raises(DataError, match=f'{path} has the values 7'):
        run(dataset, 'mmseg')
    assert list(check(dataset, 'mmseg').errors) == ['label map with invalid labels']


def test_check_samples_classification_folder_names_the_image(data):
    need_mmpretrain()
    for index, path in enumerate(sorted((data / 'images/train').iterdir())):
        folder = data / 'folders' / 'ab'[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder)
    dataset = dict(
        type='CustomDataset',
        data_root=str(data / 'folders'),
        serialize_data=False,
        pipeline=[LOAD, dict(type='PackInputs')],
    )
    report = check(dataset, 'mmpretrain')
    assert not report.errors and report.checked['images read'] == 10
    path = next((data / 'folders/a').iterdir())
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(DataError, match=str(path)):
        run(dataset, 'mmpretrain')
    assert check(dataset, 'mmpretrain').errors['image cannot be read']['count'] == 1


@pytest.mark.parametrize(
    'pipeline, kept',
    [
        ([LOAD, BOXES, dict(type='RandomFlip', prob=0.5)], ['LoadImageFromFile']),
        ([dict(type='TakeFrame'), BOXES], ['TakeFrame']),
        (
            [LOAD, dict(type='Resize', scale=(32, 32)), dict(BOXES, with_seg=True)],
            ['LoadImageFromFile', 'LoadAnnotations'],
        ),
    ],
)
def test_loading_pipeline_keeps_only_loading_steps(data, pipeline, kept):
    """Boxes and masks out of the json are checked there, which is far quicker than drawing the masks."""
    init_default_scope('mmdet')
    prefix = dict(img='images/train/', seg='labels/train/')
    built = DATASETS.build({**detection(data, pipeline), 'data_prefix': prefix})
    built.pipeline = LoadingPipeline(built.pipeline.transforms, files_only=True)
    built.pipeline.find_steps(built)
    assert [type(step).__name__ for step in built.pipeline.steps] == kept


@pytest.mark.parametrize('workers', [0, 2])
def test_check_samples_with_workers_finds_the_same(data, workers):
    paths = sorted((data / 'images/train').iterdir())
    paths[3].write_bytes(b'')
    paths[7].unlink()
    init_default_scope('mmdet')
    built = DATASETS.build(with_coco_checks(detection(data, [LOAD, BOXES])))
    built.pipeline = LoadingPipeline(built.pipeline.transforms)
    report, seen = Report(), io.StringIO()

    class Steps:
        def __enter__(self):
            return lambda steps: seen.write('.' * steps)

        def __exit__(self, *error):
            pass

    check_samples(built, report, lambda *task: Steps(), workers)
    assert report.errors['image cannot be read']['examples'] == [f'{paths[3]} is empty']
    assert report.errors['image is missing']['examples'] == [f'{paths[7]} cannot be loaded: there is no such file']
    assert report.checked == {'images read': 10} and seen.getvalue() == '.' * 10
