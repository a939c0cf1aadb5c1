"""Browsing of wrapped datasets, damaged files and images of any channels."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import TRANSFORMS, init_default_scope

pytest.importorskip('mmdet')
pytest.importorskip('mmcv.ops')
pytest.importorskip('mmseg')

from mmcv.transforms import BaseTransform  # noqa: E402

from mmrest.visualization.browse import build_dataset, draw_item, find_part  # noqa: E402

CLASSES = ('background', 'disc', 'square', 'triangle', 'star')


@pytest.fixture
def detector(configs, shapes):
    cfg = Config.fromfile(configs['ResT'])
    cfg.train_dataloader.dataset.data_root = f'{shapes}/'
    return cfg


@pytest.fixture
def segmentor(repo, shapes):
    cfg = Config.fromfile(repo / 'configs/upernet_rest_lite_shapes.py')
    cfg.train_dataloader.dataset.data_root = str(shapes)
    return cfg


@pytest.fixture
def browse(run, tmp_path, capsys):
    """Write a config, browse it, and return the names of the pictures and what was printed."""

    def browse_config(cfg, *args, status=0):
        cfg.dump(tmp_path / 'config.py')
        try:
            run('browse_dataset', 'config.py', '--num-samples', 99, '--out-dir', 'out', *args)
        except SystemExit as error:
            assert error.code == status
        captured = capsys.readouterr()
        return sorted(path.name for path in (tmp_path / 'out').glob('0*.png')), captured.out + captured.err

    return browse_config


def wrapped(kind, datasets):
    concat = dict(type='ConcatDataset', datasets=datasets, ignore_keys=['classes', 'palette', 'label_map'])
    mix = dict(type='MultiImageMixDataset', pipeline=[dict(type='PackSegInputs')])
    return dict(
        concat=concat, repeat=dict(type='RepeatDataset', times=2, dataset=concat), mix=dict(mix, dataset=concat)
    )[kind]


@pytest.mark.parametrize('kind', ['concat', 'repeat', 'mix'])
def test_browse_of_wrapped_parts_names_labels_by_their_part(segmentor, browse, kind):
    first = segmentor.train_dataloader.dataset
    first.pipeline = first.pipeline[:2] if kind == 'mix' else first.pipeline
    second = dict(first, metainfo=dict(classes=CLASSES[::-1], palette=first.metainfo.palette[::-1]))
    segmentor.train_dataloader.dataset = wrapped(kind, [first, second])
    dataset = build_dataset(segmentor, 'train')
    assert len(dataset) == (40 if kind == 'repeat' else 20)
    for index in range(len(dataset)):
        expected = CLASSES if index % 20 < 10 else CLASSES[::-1]
        assert tuple(find_part(dataset, index).metainfo['classes']) == expected
    pictures, printed = browse(segmentor, '--num-samples', 4)
    assert len(pictures) == 4 and printed.count('number their classes differently') == 1
    assert "('background', 'disc', 'square', 'triangle', 'star') / ('star', " in printed


def test_browse_of_parts_with_other_classes_warns(detector, browse):
    first = detector.train_dataloader.dataset
    detector.train_dataloader.dataset = dict(
        type='ConcatDataset', datasets=[first, dict(first, metainfo=dict(classes=('disc', 'star')))]
    )  # mmdet then has a list of metainfo
    pictures, printed = browse(detector)
    assert len(pictures) == 16 and 'number their classes differently' in printed


def test_browse_of_parts_with_the_same_classes_does_not_warn(detector, browse):
    first = detector.train_dataloader.dataset
    detector.train_dataloader.dataset = dict(type='ConcatDataset', datasets=[first, first])
    assert 'differently' not in browse(detector)[1]


def test_browse_of_damaged_files_skips_them(detector, browse, shapes, tmp_path):
    data = shutil.copytree(shapes, tmp_path / 'data')
    detector.train_dataloader.dataset.data_root = f'{data}/'
    (data / 'images/train/000003.png').write_bytes((shapes / 'images/train/000003.png').read_bytes()[:400])
    (data / 'images/train/000004.png').write_bytes(b'')
    (data / 'images/train/000005.png').unlink()
    (data / 'images/train/000006.png').unlink()
    (data / 'images/train/000006.png').mkdir()
    pictures, printed = browse(detector)
    assert len(pictures) == 5 and printed.count('Skipped: ') == 4
    for number, fault in ((3, 'truncated'), (4, 'is empty'), (5, 'there is no such file'), (6, 'cannot be loaded')):
        assert fault in '\n'.join(line for line in printed.splitlines() if f'00000{number}.png' in line)
    shutil.rmtree(data / 'images/train')
    (data / 'images/train').mkdir()
    _, printed = browse(detector, status=2)
    assert 'error: None of the 9 samples can be drawn. ' in printed and '000000.png cannot be loaded' in printed


def test_browse_of_elongated_images_skips_them_where_the_pipeline_fails(detector, browse, shapes, tmp_path):
    data = shutil.copytree(shapes, tmp_path / 'data')
    path = data / 'annotations/instances_train.json'
    content = json.loads(path.read_text())
    for image, (height, width) in zip(content['images'], ((3, 2000), (2000, 3))):
        cv2.imwrite(str(data / 'images/train' / image['file_name']), np.zeros((height, width, 3), np.uint8))
        image.update(height=height, width=width)
    path.write_text(json.dumps(content))
    dataset = detector.train_dataloader.dataset
    dataset.data_root = f'{data}/'
    dataset.filter_cfg = dict(filter_empty_gt=False)
    pictures, printed = browse(detector)
    assert len(pictures) == 8 and printed.count('Skipped: Resize failed on') == 2
    dataset.pipeline = [step for step in dataset.pipeline if step.type != 'Resize']
    pictures, printed = browse(detector)
    assert len(pictures) == 10, printed[-900:]


@pytest.mark.parametrize(
    'name',
    [
        'a b.png',
        'h#ash 100%.png',
        'q\'uo"te.png',
        'ü日本.png',
        'two\nlines.png',
        f'{"x" * 250}.png',
        f'{"日" * 80}.png',
    ],
)
def test_browse_of_odd_file_names_draws_them(detector, browse, shapes, tmp_path, name):
    data = shutil.copytree(shapes, tmp_path / 'data')
    path = data / 'annotations/instances_train.json'
    content = json.loads(path.read_text())
    (data / 'images/train' / content['images'][0]['file_name']).rename(data / 'images/train' / name)
    content['images'][0]['file_name'] = name
    path.write_text(json.dumps(content))
    detector.train_dataloader.dataset.update(data_root=f'{data}/', indices=1)
    pictures, printed = browse(detector)
    assert pictures == [f'000000_{name[:-4][:60]}.png'] and 'Skipped' not in printed and 'unsupported' not in printed


@TRANSFORMS.register_module()
class ReadChannels(BaseTransform):
    def __init__(self, channels, kind):
        self.channels = channels
        self.kind = kind

    def transform(self, results):
        image = cv2.imread(results['img_path'])
        image = np.concatenate([image, image], -1)[..., : self.channels].astype(self.kind)
        image = dict(uint8=image, uint16=image * np.uint16(257), float32=image / np.float32(255))[self.kind]
        results['img'] = image
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        return results


@pytest.mark.parametrize('channels', [1, 2, 3, 4, 5])
@pytest.mark.parametrize('kind', ['uint8', 'uint16', 'float32'])
def test_draw_item_with_any_channels_and_dtype_shows_the_image(detector, shapes, channels, kind):
    detector.train_dataloader.dataset.pipeline = [
        dict(type='mmengine.ReadChannels', channels=channels, kind=kind),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='PackDetInputs'),
    ]
    dataset = build_dataset(detector, 'train')
    init_default_scope('mmdet')
    picture, name = draw_item(dataset[0], dict(classes=('disc', 'square', 'triangle', 'star')))
    image = cv2.imread(str(shapes / 'images/train' / name))[..., ::-1]
    image = image if channels > 2 else np.broadcast_to(image[..., 2:], image.shape)
    small = cv2.resize(picture, (64, 64), interpolation=cv2.INTER_AREA).astype(int)
    if kind == 'uint16':  # whose values are spread over the range
        assert np.corrcoef(small[20:].ravel(), image[20:].ravel())[0, 1] > 0.8
    else:
        assert np.median(np.abs(small - image)) <= 2


def test_browse_with_bad_palette_ends_in_one_message(segmentor, browse):
    segmentor.train_dataloader.dataset.metainfo.palette = [(1, 2, 3)]
    assert 'error: The dataset for train cannot be built: palette does not match' in browse(segmentor, status=2)[1]
