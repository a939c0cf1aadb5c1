"""The shapes data set: what is drawn, what is written, and when it is drawn again."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from mmrest.datasets import CLASSES, draw_image, draw_shapes, is_shapes_dataset, shapes, shapes_dataset

SPLITS = ('train', 'val')
ARGUMENTS = {'num_train': 14, 'num_val': 5, 'size': (96, 128), 'seed': 3}


def list_files(root: Path) -> list[Path]:
    return [path for path in root.rglob('*') if path.is_file()]


def read_files(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in list_files(root)}


def stat_files(root: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in list_files(root)}


def load_json(root: Path, split: str) -> dict:
    return json.loads((root / 'annotations' / f'instances_{split}.json').read_text())


def load(root: Path, split: str) -> COCO:
    return COCO(str(root / 'annotations' / f'instances_{split}.json'))


@pytest.fixture(scope='module')
def root(tmp_path_factory) -> Path:
    """A drawn data set; tests that change one draw their own."""
    return draw_shapes(tmp_path_factory.mktemp('data') / 'shapes', **ARGUMENTS)


def test_draw_shapes_writes_the_documented_files(root):
    expected = {'shapes.json', 'annotations/instances_train.json', 'annotations/instances_val.json'}
    for split, count in (('train', 14), ('val', 5)):
        expected |= {f'{kind}/{split}/{i:06d}.png' for kind in ('images', 'labels') for i in range(count)}
    assert set(read_files(root)) == expected
    assert is_shapes_dataset(root) and not is_shapes_dataset(root / 'images')
    assert json.loads((root / 'shapes.json').read_text()) == {
        'format_version': 1,
        'num_train': 14,
        'num_val': 5,
        'size': [96, 128],
        'seed': 3,
    }


def test_draw_shapes_again_writes_the_same_bytes(root, tmp_path):
    assert read_files(draw_shapes(tmp_path / 'again', **ARGUMENTS)) == read_files(root)


def test_draw_shapes_fewer_images_are_a_prefix(root, tmp_path):
    fewer = draw_shapes(tmp_path / 'fewer', **{**ARGUMENTS, 'num_train': 6, 'num_val': 3})
    pictures = {name: content for name, content in read_files(fewer).items() if name.endswith('.png')}
    assert len(pictures) == 2 * (6 + 3)
    assert pictures == {name: content for name, content in read_files(root).items() if name in pictures}
    few, many = load_json(fewer, 'val'), load_json(root, 'val')
    assert few['images'] == many['images'][:3]
    assert few['annotations'] == many['annotations'][: len(few['annotations'])]


def test_draw_image_differs_by_seed_split_and_index():
    images = [
        draw_image(seed=seed, index=index, split=split).image.tobytes()
        for seed in (0, 1)
        for index in (2, 3)
        for split in SPLITS
    ]
    assert len(set(images)) == len(images)


def test_draw_shapes_files_equal_drawn_images(root):
    for split in SPLITS:
        drawn = draw_image((96, 128), 3, 2, split)
        assert drawn.image.shape == (96, 128, 3) and drawn.image.dtype == np.uint8
        assert drawn.label_map.shape == (96, 128) and drawn.label_map.dtype == np.uint8
        image = cv2.imread(str(root / 'images' / split / '000002.png'), cv2.IMREAD_UNCHANGED)
        label_map = cv2.imread(str(root / 'labels' / split / '000002.png'), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(image, drawn.image)
        np.testing.assert_array_equal(label_map, drawn.label_map)


@pytest.mark.parametrize('split', SPLITS)
def test_annotations_agree_with_masks_and_label_maps(root, split):
    coco = load(root, split)
    assert [(c['id'], c['name']) for c in coco.loadCats(coco.getCatIds())] == list(enumerate(CLASSES, 1))
    for image in coco.loadImgs(coco.getImgIds()):
        assert (image['height'], image['width']) == (96, 128)
        assert (root / 'images' / split / image['file_name']).is_file()
        label_map = cv2.imread(str(root / 'labels' / split / image['file_name']), cv2.IMREAD_UNCHANGED)
        drawn = draw_image((96, 128), 3, int(image['file_name'][:6]), split)
        annotations = coco.loadAnns(coco.getAnnIds(image['id']))
        assert len(annotations) == len(drawn.instances)
        rebuilt = np.zeros_like(label_map)
        for annotation, instance in zip(annotations, drawn.instances):
            assert annotation['category_id'] == instance.category
            assert annotation['iscrowd'] == instance.iscrowd
            decoded = coco.annToMask(annotation).astype(bool)
            assert (decoded & instance.mask).sum() > 0.97 * (decoded | instance.mask).sum()
            assert annotation['area'] == instance.mask.sum()
            assert (
                annotation['bbox']
                == coco_mask.toBbox(coco_mask.encode(np.asfortranarray(instance.mask, np.uint8))).tolist()
            )
            x, y, w, h = annotation['bbox']
            assert x >= 0 and y >= 0 and w > 0 and h > 0 and x + w <= 128 and y + h <= 96
            assert not rebuilt[instance.mask].any(), 'visible masks overlap'
            rebuilt[instance.mask] = annotation['category_id']
        np.testing.assert_array_equal(rebuilt, label_map)


def test_annotation_ids_are_unique_and_positive(root):
    contents = [load_json(root, split) for split in SPLITS]
    image_ids = [image['id'] for content in contents for image in content['images']]
    assert len(set(image_ids)) == len(image_ids) == 19
    for content in contents:
        ids = [annotation['id'] for annotation in content['annotations']]
        assert len(set(ids)) == len(ids)
        assert min(ids) > 0  # COCO's evaluation takes 0 for "no match"


@pytest.mark.parametrize('split', SPLITS)
def test_each_split_has_one_crowd_and_one_empty_image(root, split):
    coco = load(root, split)
    crowds = [annotation for annotation in coco.loadAnns(coco.getAnnIds()) if annotation['iscrowd']]
    assert len(crowds) == 1
    image = coco.loadImgs(crowds[0]['image_id'])[0]
    assert image['file_name'] == '000000.png'
    assert len(coco.getAnnIds(image['id'], iscrowd=False)) >= 1
    segmentation = crowds[0]['segmentation']
    assert segmentation['size'] == [96, 128] and sum(segmentation['counts']) == 96 * 128
    parts = cv2.connectedComponents(coco.annToMask(crowds[0]), connectivity=8)[0] - 1
    assert parts > 5

    without = [image for image in coco.loadImgs(coco.getImgIds()) if not coco.getAnnIds(image['id'])]
    assert [image['file_name'] for image in without] == ['000001.png']
    assert not cv2.imread(str(root / 'labels' / split / '000001.png'), cv2.IMREAD_UNCHANGED).any()


def test_draw_image_with_crowd_has_a_shape_beside_it():
    for size in ((32, 32), (128, 128), (64, 200)):
        for seed in range(8):
            drawn = draw_image(size, seed, index=0)
            assert [instance.iscrowd for instance in drawn.instances[:2]] == [True, False]


def disc(centre: tuple[int, int], radius: int, category: int) -> shapes._Layer:
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    outline = radius * np.stack([np.cos(angles), np.sin(angles)], axis=1) + np.array(centre)
    return shapes._rasterize((64, 64), category, [outline], iscrowd=False)


def test_visible_masks_later_shape_covers_earlier():
    under, over = disc((26, 32), 16, 1), disc((38, 32), 16, 2)
    first, second = shapes._visible_masks([under, over])
    np.testing.assert_array_equal(second, over.mask)
    np.testing.assert_array_equal(first, under.mask & ~over.mask)
    assert first.sum() < under.mask.sum()


def test_lay_out_rejects_mostly_hidden_shapes(monkeypatch):
    # The second would hide most of the first, the third hides little of it, the fourth is too small to see.
    proposals = iter(
        [disc((32, 32), 14, 1), disc((32, 32), 13, 2), disc((32, 32), 5, 3), disc((9, 9), 3, 2), disc((9, 9), 8, 4)]
    )
    monkeypatch.setattr(shapes, '_random_shape', lambda rng, size: next(proposals))
    monkeypatch.setattr(shapes, 'COUNT_WEIGHTS', (0, 0, 1))
    layers = shapes._lay_out(np.random.default_rng(0), (64, 64), with_crowd=False)
    assert [layer.category for layer in layers] == [1, 3, 4]


def test_draw_image_shapes_overlap_and_stay_visible():
    overlaps = 0
    for index in range(2, 150):
        layers = shapes._lay_out(np.random.default_rng([0, 0, index]), (128, 128), with_crowd=False)
        drawn = draw_image(index=index)
        assert 1 <= len(drawn.instances) == len(layers) <= 5
        for i, (layer, instance) in enumerate(zip(layers, drawn.instances)):
            assert instance.mask.sum() >= max(0.35 * layer.mask.sum(), 40)
            for over in drawn.instances[i + 1 :]:
                shared = layer.mask & over.mask
                if shared.sum() >= 40:
                    overlaps += 1
                    shown, own = (np.median(drawn.image[mask], axis=0) for mask in (shared, instance.mask))
                    assert np.linalg.norm(shown - own) > 20, f'image {index} shows the covered shape'
    assert overlaps > 10


def test_draw_image_shapes_contrast_with_background():
    for index in range(2, 30):
        drawn = draw_image(index=index)
        lab = cv2.cvtColor(drawn.image.astype(np.float32) / 255, cv2.COLOR_BGR2Lab)
        for instance in drawn.instances:
            mask = instance.mask.astype(np.uint8)
            around = cv2.dilate(mask, np.ones((9, 9))) > cv2.dilate(mask, np.ones((3, 3)))
            around &= drawn.label_map == 0
            if around.any():
                contrast = np.median(lab[instance.mask], axis=0) - np.median(lab[around], axis=0)
                assert np.linalg.norm(contrast) > 20, f'image {index}'


@pytest.mark.parametrize('name', ['speck', 'line', 'ring', 'parts', 'full', 'spots'])
def test_polygons_and_rle_of_odd_mask_decode_to_it(name):
    mask = np.zeros((40, 30), bool)
    if name == 'speck':
        mask[7, 9] = True
    elif name == 'line':
        mask[5, 3:20] = True
    elif name == 'ring':
        mask[4:30, 5:25] = True
        mask[10:20, 8:20] = False
        mask[13:16, 11:14] = True
    elif name == 'parts':
        mask[0:8, 0:8] = mask[20:40, 10:30] = mask[10, 12] = True
    elif name == 'full':
        mask[:] = True
    else:
        mask[2:38, 2:28] = np.random.RandomState(0).rand(36, 26) < 0.6
    polygons = shapes_dataset._to_polygons(mask)
    assert polygons and [polygon for polygon in polygons if len(polygon) < 6 or len(polygon) % 2] == []
    for rle in (
        coco_mask.merge(coco_mask.frPyObjects(polygons, 40, 30)),
        coco_mask.frPyObjects(shapes_dataset._to_rle(mask), 40, 30),
    ):
        np.testing.assert_array_equal(coco_mask.decode(rle).astype(bool), mask)


def test_draw_shapes_second_call_writes_nothing(tmp_path):
    draw_shapes(tmp_path, 3, 2, (32, 32))
    before = stat_files(tmp_path)
    calls = []
    draw_shapes(str(tmp_path), 3, 2, [32, 32], progress=lambda *args: calls.append(args))
    assert stat_files(tmp_path) == before
    assert calls == []


def test_draw_shapes_reports_progress(tmp_path):
    calls = []
    draw_shapes(tmp_path, 3, 2, (32, 32), progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]


@pytest.mark.parametrize('change', [{'num_train': 4}, {'num_val': 3}, {'size': (32, 40)}, {'seed': 1}])
def test_draw_shapes_other_arguments_need_overwrite(tmp_path, change):
    old = {'num_train': 5, 'num_val': 4, 'size': (32, 32), 'seed': 0}
    draw_shapes(tmp_path / 'a', **old)
    before = read_files(tmp_path / 'a')
    with pytest.raises(FileExistsError, match='other folder or overwrite'):
        draw_shapes(tmp_path / 'a', **{**old, **change})
    assert read_files(tmp_path / 'a') == before
    draw_shapes(tmp_path / 'a', **{**old, **change}, overwrite=True)
    draw_shapes(tmp_path / 'b', **{**old, **change})
    assert read_files(tmp_path / 'a') == read_files(tmp_path / 'b')  # nothing of the old one is left, either


def test_draw_shapes_after_interruption_completes(tmp_path):
    def interrupt(done, total):
        if done == 4:
            raise KeyboardInterrupt

    whole = read_files(draw_shapes(tmp_path / 'whole', 3, 2, (32, 32)))
    root = tmp_path / 'part'
    with pytest.raises(KeyboardInterrupt):
        draw_shapes(root, 3, 2, (32, 32), progress=interrupt)
    assert not (root / 'shapes.json').exists() and (root / 'annotations/instances_train.json').is_file()
    assert read_files(draw_shapes(root, 3, 2, (32, 32))) == whole

    # An overwriting drawing that is interrupted does not pass for the old data set.
    with pytest.raises(KeyboardInterrupt):
        draw_shapes(root, 3, 2, (32, 32), overwrite=True, progress=interrupt)
    assert not (root / 'shapes.json').exists()
    (root / 'annotations/.instances_val.json.123.partial').write_text('{"info"')
    (root / 'images/train/000007.png').write_bytes(b'')
    assert read_files(draw_shapes(root, 3, 2, (32, 32))) == whole


@pytest.mark.parametrize(
    'name', ['images/val/000001.png', 'labels/train/000002.png', 'annotations/instances_val.json', 'shapes.json']
)
def test_draw_shapes_missing_file_is_drawn_again(tmp_path, name):
    draw_shapes(tmp_path, 3, 2, (32, 32))
    before = read_files(tmp_path)
    (tmp_path / name).unlink()
    draw_shapes(tmp_path, 3, 2, (32, 32))
    assert read_files(tmp_path) == before


@pytest.mark.parametrize('name', ['annotations/instances_train2017.json', 'images/train/000000000009.jpg'])
@pytest.mark.parametrize('overwrite', [False, True])
def test_draw_shapes_foreign_files_are_kept(tmp_path, name, overwrite):
    foreign = tmp_path / name
    foreign.parent.mkdir(parents=True)
    foreign.write_text('mine')
    with pytest.raises(FileExistsError, match='choose another folder'):
        draw_shapes(tmp_path, 3, 2, (32, 32), overwrite=overwrite)
    assert read_files(tmp_path) == {name: b'mine'}


@pytest.mark.parametrize(
    'arguments, message',
    [
        ({'size': (31, 64)}, 'side of size'),
        ({'size': (64, 64.0)}, 'side of size'),
        ({'size': 64}, 'height, width'),
        ({'size': (64, 64, 3)}, 'height, width'),
        ({'seed': -1}, 'seed'),
        ({'num_train': 1}, 'num_train'),
        ({'num_val': -3}, 'num_val'),
        ({'num_val': 2.5}, 'num_val'),
    ],
)
def test_draw_shapes_bad_argument_raises(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        draw_shapes(tmp_path, **{'num_train': 2, 'num_val': 2, 'size': (32, 32), **arguments})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    'arguments, message',
    [
        ({'index': -1}, 'index'),
        ({'split': 'test'}, 'split'),
        ({'size': (0, 0)}, 'size'),
        ({'seed': -1}, 'seed'),
    ],
)
def test_draw_image_bad_argument_raises(arguments, message):
    with pytest.raises(ValueError, match=message):
        draw_image(**arguments)
