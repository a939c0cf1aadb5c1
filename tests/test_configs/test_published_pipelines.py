"""Test pipelines of the published configs: pixels as the authors' code sees them."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
from helpers.compare import assert_equal
from PIL import Image

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

from helpers.published_configs import NAMES, parse, read  # noqa: E402

DETECTORS = [name for name in NAMES if name.endswith('_coco')]


SEGMENTORS = [name for name in NAMES if name.endswith('_ade20k')]


CLASSIFIERS = [name for name in NAMES if name.endswith('_in1k')]


def run(steps: list, path: Path, **more) -> dict | list:
    from mmcv.transforms import Compose

    return Compose(steps)(dict(img_path=str(path), img_id=0, **copy.deepcopy(more)))


@pytest.fixture(scope='module')
def photo(tmp_path_factory) -> Path:
    """An image larger than detection tests at, with detail that a careless resize gets wrong."""
    random = np.random.default_rng(0)
    path = tmp_path_factory.mktemp('photo') / 'photo.png'
    Image.fromarray(random.integers(0, 256, (1000, 1203, 3), dtype=np.uint8)).save(path, compress_level=0)
    return path


@pytest.mark.parametrize('name', DETECTORS)
def test_detector_test_pipeline_equals_pillow(name, photo):
    """Shorter side 800, longer at most 1333, sizes rounded; BGR, as mmdet reads."""
    steps = read(name).test_dataloader.dataset.pipeline
    seen = run(steps, photo, instances=[])['inputs']
    expected = np.asarray(Image.open(photo).resize((962, 800), Image.BILINEAR))[..., ::-1]
    assert seen.shape == (3, 800, 962)
    np.testing.assert_array_equal(seen.permute(1, 2, 0), expected)


@pytest.mark.parametrize('name', SEGMENTORS)
def test_segmentor_test_pipeline_resizes_to_multiples_of_32(name, photo):
    cfg = read(name)
    assert cfg.tta_model.type == 'SegTTAModel' and cfg.model.test_cfg.mode == 'whole'
    assert cfg.model.data_preprocessor.bgr_to_rgb and cfg.test_dataloader.batch_size == 1
    labels = photo.with_name('labels.png')
    Image.fromarray(np.tile(np.arange(0, 4, dtype=np.uint8), (1000, 301))[:, :1203]).save(labels)
    more = dict(seg_map_path=str(labels), seg_fields=[], label_map=None, reduce_zero_label=True)
    one = run(cfg.test_dataloader.dataset.pipeline, photo, **more)
    assert one['inputs'].shape == (3, 512, 640)  # 512 x 616, stretched
    sample = one['data_samples']
    assert sample.ori_shape == (1000, 1203) == sample.gt_sem_seg.shape
    assert sample.gt_sem_seg.data.unique().tolist() == [0, 1, 2, 255]
    several = run(cfg.tta_pipeline, photo, **more)
    assert [tuple(image.shape[1:]) for image in several['inputs'][::2]] == [
        (256, 320),
        (384, 480),
        (512, 640),
        (640, 800),
        (768, 928),
        (896, 1088),
    ]
    assert_equal([image.flip(-1) for image in several['inputs'][::2]], several['inputs'][1::2])
    assert [sample.flip for sample in several['data_samples']] == [False, True] * 6


def torchvision_way(image: Image.Image, size: int | tuple, crop: int | None) -> Image.Image:
    """Resize of the shorter side, or to a size, and CenterCrop, as torchvision documents them."""
    width, height = image.size
    if isinstance(size, int):
        scale = size / min(width, height)
        size = (size, int(scale * height)) if width <= height else (int(scale * width), size)
    image = image.resize(size, Image.BICUBIC)
    if crop is None:
        return image
    left, top = (int(round((side - crop) / 2)) for side in image.size)
    return image.crop((left, top, left + crop, top + crop))


@pytest.mark.parametrize('name', CLASSIFIERS)
def test_classifier_test_pipeline_equals_torchvision(name, photo):
    cfg = read(name)
    _, version, _ = parse(name)
    size, crop = {('rest', '224'): (256, 224), ('restv2', '224'): (224, 224), ('restv2', '384'): ((384, 384), None)}[
        version, name.split('_')[2]
    ]
    seen = run(cfg.test_dataloader.dataset.pipeline, photo, gt_label=3)['inputs']
    expected = np.asarray(torchvision_way(Image.open(photo), size, crop))[..., ::-1]
    np.testing.assert_array_equal(seen.permute(1, 2, 0), expected)
    assert cfg.data_preprocessor == dict(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True, num_classes=1000
    )
    assert not [hook for hook in cfg.get('custom_hooks', []) if hook.type == 'EMAHook']
    assert cfg.test_dataloader.dataset.split == 'val' and cfg.test_evaluator.topk == (1, 5)
