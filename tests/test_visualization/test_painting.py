"""What is painted where: colors inside masks and boxes, names beside them, and pictures of any size."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytest.importorskip('cv2')
pytest.importorskip('PIL')
pytest.importorskip('matplotlib')

from mmengine.structures import BaseDataElement, InstanceData, PixelData  # noqa: E402

from mmrest.visualization import Canvas, draw_sample  # noqa: E402
from mmrest.visualization.painting import MIN_SIDE, as_picture, make_colors  # noqa: E402
from mmrest.visualization.sheet import contact_sheet  # noqa: E402

RED, BLUE = (255, 0, 0), (0, 0, 255)


def grey(height=600, width=800):
    return np.full((height, width, 3), 128, np.uint8)


def share(picture, color):
    """Share of the pixels that have a color, nearly."""
    return (np.abs(picture.astype(int) - color).max(-1) < 3).mean()


@pytest.mark.parametrize(
    'shape, expected',
    [
        ((64, 64), (512, 512)),
        ((128, 100), (512, 400)),
        ((480, 640), (480, 640)),
        ((1, 1), (480, 480)),
        ((1, 3000), (1, 3000)),
    ],
)
def test_small_pictures_are_enlarged(shape, expected):
    canvas = Canvas(grey(*shape))
    canvas.draw_box((0, 0, shape[1], shape[0]), RED, 'a name that is longer than the picture')
    assert canvas.render().shape == (*expected, 3) and max(expected) >= MIN_SIDE


def test_boxes_are_where_they_should_be():
    canvas = Canvas(grey())
    canvas.draw_box((100, 200, 300, 400), RED)
    picture = canvas.render()
    rows, columns = np.nonzero(np.abs(picture.astype(int) - RED).max(-1) < 3)
    assert (columns.min(), columns.max()) == pytest.approx((100, 300), abs=3)
    assert (rows.min(), rows.max()) == pytest.approx((200, 400), abs=3)
    assert tuple(picture[300, 200]) == (128, 128, 128)
    dashed = Canvas(grey())
    dashed.draw_box((100, 200, 300, 400), RED, dashed=True)
    assert 0.3 * share(picture, RED) < share(dashed.render(), RED) < 0.8 * share(picture, RED)


def test_names_do_not_cover_each_other():
    one, three = Canvas(grey()), Canvas(grey())
    one.draw_box((100, 200, 300, 400), RED, 'name')
    for _ in range(3):
        three.draw_box((100, 200, 300, 400), RED, 'name')
    bare = Canvas(grey())
    bare.draw_box((100, 200, 300, 400), RED)
    box = share(bare.render(), RED)
    name = share(one.render(), RED) - box
    assert name > 0 and share(three.render(), RED) - box > 2.7 * name


def test_masks_are_tinted_and_keep_the_picture():
    canvas = Canvas(grey())
    mask = np.zeros((600, 800), bool)
    mask[100:200, 100:200] = True
    canvas.draw_mask(mask, RED, alpha=0.5)
    picture = canvas.render()
    assert tuple(picture[150, 150]) == pytest.approx((192, 64, 64), abs=1)
    assert tuple(picture[50, 50]) == (128, 128, 128)


def test_label_maps_skip_what_is_no_class():
    labels = np.full((60, 80), 255)
    labels[:30] = 0
    labels[30:40] = 1
    canvas = Canvas(grey(60, 80))
    canvas.draw_label_map(labels, ['sky', 'sea'], [RED, BLUE], alpha=1.0)
    picture = canvas.render()
    assert tuple(picture[-10, 10]) == (128, 128, 128)
    assert 0.3 < share(picture, RED) < 0.5 and 0.05 < share(picture, BLUE) < 1 / 6


def test_colors_are_given_ones_first_and_all_differ():
    colors = make_colors(40, [[1, 2, 3]])
    assert colors[0] == (1, 2, 3) and len(set(colors)) == 40
    assert all(0 <= value <= 255 for color in colors for value in color)


@pytest.mark.parametrize(
    'image, expected',
    [
        (np.uint8([[[1, 2, 3]]]), (3, 2, 1)),
        (np.uint8([[[1, 2, 3, 4, 5]]]), (3, 2, 1)),
        (np.uint8([[[7, 9]]]), (7, 7, 7)),
        (np.uint8([[7]]), (7, 7, 7)),
        (np.float32([[[0.2, 0.4, 1]]]), (255, 102, 51)),
        (np.float32([[[2, 4, 255]]]), (255, 4, 2)),
        (np.uint16([[[0, 30000, 60000]]]), (255, 128, 0)),
        (np.float32([[[-2, 0, 2]]]), (255, 128, 0)),
        (np.float32([[[np.nan, 2, np.inf]]]), (0, 2, 0)),
        (np.int64([[[0, 1, 1]]]), (1, 1, 0)),
    ],
)
def test_images_of_any_kind_are_pictures(image, expected):
    picture = as_picture(image)
    assert picture.dtype == np.uint8 and picture.shape == (1, 1, 3) and tuple(picture[0, 0]) == expected


def test_a_palette_by_name_is_not_taken_for_colors():
    sample = BaseDataElement(pred_instances=instances(scores=torch.tensor([0.9, 0.8])))
    assert share(draw_sample(grey(), sample, ['a', 'b', 'c', 'd'], 'coco'), (128, 128, 128)) < 1


def instances(**fields):
    return InstanceData(
        bboxes=torch.tensor([[100.0, 200, 300, 400], [400, 100, 500, 300]]), labels=torch.tensor([0, 1]), **fields
    )


def test_predictions_below_the_threshold_are_left_out():
    sample = BaseDataElement(pred_instances=instances(scores=torch.tensor([0.9, 0.2])))
    palette = [RED, BLUE]
    picture = draw_sample(grey(), sample, ['a', 'b'], palette)
    assert share(picture, RED) > 0 and share(picture, BLUE) == 0
    assert share(draw_sample(grey(), sample, ['a', 'b'], palette, score_thr=0.1), BLUE) > 0
    assert share(draw_sample(grey(), sample, ['a', 'b'], [*palette, RED]), RED) == 0  # of other classes
    assert share(draw_sample(grey(), sample, score_thr=0.95), (128, 128, 128)) == 1


def test_annotations_with_masks_and_ignored_regions():
    masks = torch.zeros(2, 600, 800, dtype=torch.bool)
    masks[1, 150:250, 420:480] = True
    ignored = InstanceData(bboxes=torch.tensor([[600.0, 10, 700, 90]]), labels=torch.tensor([0]))
    sample = BaseDataElement(gt_instances=instances(masks=masks), ignored_instances=ignored)
    picture = draw_sample(grey(), sample, ['a', 'b'], [RED, BLUE], truth=True)
    assert picture[200, 450][2] > 170 and share(picture, (150, 150, 150)) > 0
    with pytest.raises(ValueError, match='nothing to draw in it, only gt_instances'):
        draw_sample(grey(), BaseDataElement(gt_instances=instances()))


def test_panoptic_maps_and_label_maps_of_samples():
    ids = torch.zeros(1, 60, 80, dtype=torch.long)
    ids[:, :, 40:] = 1 + 1000
    ids[:, 50:] = 2  # no class
    sample = BaseDataElement(pred_panoptic_seg=PixelData(sem_seg=ids))
    picture = draw_sample(grey(60, 80), sample, ['a', 'b'], [RED, BLUE])
    assert picture[40, 40][0] > 180 and picture[40, -40][2] > 180 and tuple(picture[-5, 5]) == (128, 128, 128)
    sample = BaseDataElement(gt_sem_seg=PixelData(data=torch.full((1, 60, 80), 3, dtype=torch.uint8)))
    assert share(draw_sample(grey(60, 80), sample, ['a'], truth=True), (128, 128, 128)) < 0.2  # class 3 has no name


def test_classes_of_images():
    sample = BaseDataElement(
        pred_label=torch.tensor([1]), pred_score=torch.tensor([0.1, 0.9]), gt_label=torch.tensor([0])
    )
    for truth in (False, True):
        picture = draw_sample(grey(), sample, ['a', 'b'], truth=truth)
        assert share(picture[:100, :150], (20, 20, 20)) > 0.02 and share(picture[200:], (128, 128, 128)) == 1


def test_contact_sheets():
    sheet = contact_sheet([(np.full((300, 200 + i, 3), 7, np.uint8), f'{i}: name') for i in range(5)], width=100)
    assert sheet.shape[1] == 4 * 108 + 8 and share(sheet, (7, 7, 7)) > 0.25


def test_images_in_the_folder_for_painted_ones_are_safe(tmp_path):
    from mmrest.engine import UsageError
    from mmrest.visualization import paint_predictions

    for name in ('src/a.png', 'src/sub/a.png'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b'kept')
    with pytest.raises(UsageError, match='holds images'):
        paint_predictions(SimpleNamespace(pipeline=None), tmp_path / 'src', tmp_path / 'src/sub')
    assert (tmp_path / 'src/sub/a.png').read_bytes() == b'kept'
