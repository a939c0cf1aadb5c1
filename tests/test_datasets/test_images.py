"""Image files judged by their bytes."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from mmrest.datasets.images import find_other_suffixes, find_truncation, png_depth


def save(path, dtype=np.uint8):
    pixels = np.random.default_rng(0).integers(0, 255, (32, 32), dtype=dtype)
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.bmp'])
def test_find_truncation_whole_file_passes(tmp_path, suffix):
    path = save(tmp_path / f'image{suffix}')
    assert find_truncation(path) is None
    path.write_bytes(path.read_bytes() + bytes(9))  # as some programs append
    assert find_truncation(path) is None


@pytest.mark.parametrize('suffix', ['.png', '.jpg'])
def test_find_truncation_truncated_file_is_named(tmp_path, suffix):
    path = save(tmp_path / f'image{suffix}')
    path.write_bytes(path.read_bytes()[:-300])
    assert find_truncation(path).startswith('cannot be decoded (')


def test_find_truncation_empty_file_is_named(tmp_path):
    (tmp_path / 'image.png').touch()
    assert find_truncation(tmp_path / 'image.png') == 'is empty'


def test_find_other_suffixes_lists_images_left_out(tmp_path):
    for name in ('a.png', 'b.jpg', 'c.PNG', 'notes.txt'):
        (tmp_path / name).touch()
    dataset = SimpleNamespace(img_suffix='.png', ann_file='', data_prefix=dict(img_path=str(tmp_path)))
    assert [path.name for path in find_other_suffixes(dataset)] == ['b.jpg', 'c.PNG']
    dataset.ann_file = str(tmp_path / 'notes.txt')  # a list of names leaves out nothing
    assert find_other_suffixes(dataset) == []


@pytest.mark.parametrize(
    'name, dtype, depth', [('8.png', np.uint8, 8), ('16.png', np.uint16, 16), ('8.bmp', np.uint8, 8)]
)
def test_png_depth_reads_the_header(tmp_path, name, dtype, depth):
    assert png_depth(save(tmp_path / name, dtype)) == depth
