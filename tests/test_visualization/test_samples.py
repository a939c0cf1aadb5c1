"""Drawing the predictions and annotations of a sample."""

import numpy as np
import pytest
import torch
from helpers.pictures import BLUE, RED, color_share, gray_image

cv2 = pytest.importorskip('cv2')
pytest.importorskip('PIL')
pytest.importorskip('matplotlib')

from mmengine.structures import BaseDataElement, InstanceData, PixelData  # noqa: E402

from mmrest.visualization import draw_sample  # noqa: E402
from mmrest.visualization.samples import find_highest_score, read_image  # noqa: E402


def test_draw_sample_with_named_palette_draws_boxes():
    sample = BaseDataElement(pred_instances=instances(scores=torch.tensor([0.9, 0.8])))
    assert color_share(draw_sample(gray_image(), sample, ['a', 'b', 'c', 'd'], 'coco'), (128, 128, 128)) < 1


def instances(**fields):
    return InstanceData(
        bboxes=torch.tensor([[100.0, 200, 300, 400], [400, 100, 500, 300]]), labels=torch.tensor([0, 1]), **fields
    )


@pytest.mark.parametrize(
    'fields, expected',
    [
        (dict(pred_instances=instances(scores=torch.tensor([0.25, 0.75]))), 0.75),
        (dict(pred_instances=instances(scores=torch.zeros(2))[:0]), 0.0),
        (dict(pred_instances=instances()), None),
        (dict(pred_sem_seg=PixelData(sem_seg=torch.zeros(1, 4, 4))), None),
        (dict(pred_score=torch.ones(2)), None),
    ],
)
def test_find_highest_score_of_instances_alone(fields, expected):
    assert find_highest_score(BaseDataElement(**fields)) == expected


def test_draw_sample_leaves_out_low_scores():
    sample = BaseDataElement(pred_instances=instances(scores=torch.tensor([0.9, 0.2])))
    palette = [RED, BLUE]
    picture = draw_sample(gray_image(), sample, ['a', 'b'], palette)
    assert color_share(picture, RED) > 0 and color_share(picture, BLUE) == 0
    assert color_share(draw_sample(gray_image(), sample, ['a', 'b'], palette, score_thr=0.1), BLUE) > 0
    assert color_share(draw_sample(gray_image(), sample, ['a', 'b'], [*palette, RED]), RED) == 0  # of other classes
    assert color_share(draw_sample(gray_image(), sample, score_thr=0.95), (128, 128, 128)) == 1


def test_draw_sample_of_annotations_shows_masks_and_ignored_boxes():
    masks = torch.zeros(2, 600, 800, dtype=torch.bool)
    masks[1, 150:250, 420:480] = True
    ignored = InstanceData(bboxes=torch.tensor([[600.0, 10, 700, 90]]), labels=torch.tensor([0]))
    sample = BaseDataElement(gt_instances=instances(masks=masks), ignored_instances=ignored)
    picture = draw_sample(gray_image(), sample, ['a', 'b'], [RED, BLUE], truth=True)
    assert picture[200, 450][2] > 170 and color_share(picture, (150, 150, 150)) > 0
    with pytest.raises(ValueError, match='nothing to draw in it, only gt_instances'):
        draw_sample(gray_image(), BaseDataElement(gt_instances=instances()))


def test_draw_sample_of_panoptic_and_label_maps_tints_classes():
    ids = torch.zeros(1, 60, 80, dtype=torch.long)
    ids[:, :, 40:] = 1 + 1000
    ids[:, 50:] = 2  # no class
    sample = BaseDataElement(pred_panoptic_seg=PixelData(sem_seg=ids))
    picture = draw_sample(gray_image(60, 80), sample, ['a', 'b'], [RED, BLUE])
    assert picture[40, 40][0] > 180 and picture[40, -40][2] > 180 and tuple(picture[-5, 5]) == (128, 128, 128)
    sample = BaseDataElement(gt_sem_seg=PixelData(data=torch.full((1, 60, 80), 3, dtype=torch.uint8)))
    assert (
        color_share(draw_sample(gray_image(60, 80), sample, ['a'], truth=True), (128, 128, 128)) < 0.2
    )  # class 3 has no name


def test_draw_sample_of_classes_writes_names():
    sample = BaseDataElement(
        pred_label=torch.tensor([1]), pred_score=torch.tensor([0.1, 0.9]), gt_label=torch.tensor([0])
    )
    for truth in (False, True):
        picture = draw_sample(gray_image(), sample, ['a', 'b'], truth=truth)
        assert (
            color_share(picture[:100, :150], (20, 20, 20)) > 0.02 and color_share(picture[200:], (128, 128, 128)) == 1
        )


INPUTS = torch.full((3, 4, 6), 200, dtype=torch.uint8)


@pytest.mark.parametrize(
    'content, inputs, value, shape',
    [
        (8, None, 100, (8, 12, 3)),
        (8, INPUTS, 100, (8, 12, 3)),
        # Of 16 bits with small values, which decode to black, and of formats that only the pipeline knows.
        (16, None, 0, (8, 12, 3)),
        (16, INPUTS.int() * torch.arange(6), 255, (8, 12, 3)),
        (b'', INPUTS, 200, (8, 12, 3)),
        (b'five channels', INPUTS[:1].repeat(5, 1, 1), 200, (8, 12, 3)),
        (None, INPUTS, 200, (8, 12, 3)),
    ],
)
def test_read_image_prefers_the_file(tmp_path, content, inputs, value, shape):
    pytest.importorskip('mmcv')
    path = tmp_path / 'image.png'
    if isinstance(content, int):
        image = np.full((8, 12, 3), 100, f'uint{content}')
        cv2.imwrite(str(path), image)
    elif content is not None:
        path.write_bytes(content)
    sample = BaseDataElement()
    sample.set_metainfo(dict(ori_shape=(8, 12), **({} if content is None else dict(img_path=str(path)))))
    image = read_image(sample, inputs)
    assert image.shape == shape and image.dtype == np.uint8 and image.max() == value


def test_read_image_that_cannot_be_read_raises(tmp_path):
    pytest.importorskip('mmcv')
    (tmp_path / 'a.raw').write_bytes(b'raw')
    sample = BaseDataElement()
    sample.set_metainfo(dict(img_path=str(tmp_path / 'a.raw'), ori_shape=(8, 12)))
    with pytest.raises(ValueError, match=r'a\.raw can be read by the pipeline only'):
        read_image(sample)
