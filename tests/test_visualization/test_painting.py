"""Drawing on images: boxes, names, masks and label maps."""

import numpy as np
import pytest
from helpers.pictures import BLUE, RED, color_share, gray_image

pytest.importorskip('cv2')
pytest.importorskip('PIL')
pytest.importorskip('matplotlib')

from mmrest.visualization import Canvas  # noqa: E402
from mmrest.visualization.painting import MIN_SIDE, as_picture, make_colors  # noqa: E402


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
def test_painting_of_small_image_is_enlarged(shape, expected):
    canvas = Canvas(gray_image(*shape))
    canvas.draw_box((0, 0, shape[1], shape[0]), RED, 'a name that is longer than the picture')
    assert canvas.render().shape == (*expected, 3) and max(expected) >= MIN_SIDE


def test_painted_box_is_where_it_should_be():
    canvas = Canvas(gray_image())
    canvas.draw_box((100, 200, 300, 400), RED)
    picture = canvas.render()
    rows, columns = np.nonzero(np.abs(picture.astype(int) - RED).max(-1) < 3)
    assert (columns.min(), columns.max()) == pytest.approx((100, 300), abs=3)
    assert (rows.min(), rows.max()) == pytest.approx((200, 400), abs=3)
    assert tuple(picture[300, 200]) == (128, 128, 128)
    dashed = Canvas(gray_image())
    dashed.draw_box((100, 200, 300, 400), RED, dashed=True)
    assert 0.3 * color_share(picture, RED) < color_share(dashed.render(), RED) < 0.8 * color_share(picture, RED)


def test_painted_names_do_not_cover_each_other():
    one, three = Canvas(gray_image()), Canvas(gray_image())
    one.draw_box((100, 200, 300, 400), RED, 'name')
    for _ in range(3):
        three.draw_box((100, 200, 300, 400), RED, 'name')
    bare = Canvas(gray_image())
    bare.draw_box((100, 200, 300, 400), RED)
    box = color_share(bare.render(), RED)
    name = color_share(one.render(), RED) - box
    assert name > 0 and color_share(three.render(), RED) - box > 2.7 * name


def test_painted_mask_tints_the_picture():
    canvas = Canvas(gray_image())
    mask = np.zeros((600, 800), bool)
    mask[100:200, 100:200] = True
    canvas.draw_mask(mask, RED, alpha=0.5)
    picture = canvas.render()
    assert tuple(picture[150, 150]) == pytest.approx((192, 64, 64), abs=1)
    assert tuple(picture[50, 50]) == (128, 128, 128)


def test_painted_label_map_skips_unknown_classes():
    labels = np.full((60, 80), 255)
    labels[:30] = 0
    labels[30:40] = 1
    canvas = Canvas(gray_image(60, 80))
    canvas.draw_label_map(labels, ['sky', 'sea'], [RED, BLUE], alpha=1.0)
    picture = canvas.render()
    assert tuple(picture[-10, 10]) == (128, 128, 128)
    assert 0.3 < color_share(picture, RED) < 0.5 and 0.05 < color_share(picture, BLUE) < 1 / 6


def test_colors_begin_with_the_palette_and_all_differ():
    colors = make_colors(40, [[1, 2, 3]])
    assert colors[0] == (1, 2, 3) and len(set(colors)) == 40
    assert [value for color in colors for value in color if not 0 <= value <= 255] == []


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
def test_as_picture_of_any_dtype_gives_rgb(image, expected):
    picture = as_picture(image)
    assert picture.dtype == np.uint8 and picture.shape == (1, 1, 3) and tuple(picture[0, 0]) == expected
