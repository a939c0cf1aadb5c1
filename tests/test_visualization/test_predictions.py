"""Painted predictions of a folder of images."""

from types import SimpleNamespace

import pytest

pytest.importorskip('cv2')
pytest.importorskip('PIL')
pytest.importorskip('matplotlib')

from mmrest.engine import UsageError  # noqa: E402
from mmrest.visualization import paint_predictions  # noqa: E402


def test_paint_predictions_into_a_folder_with_images_is_refused(tmp_path):
    for name in ('src/a.png', 'src/sub/a.png'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b'kept')
    with pytest.raises(UsageError, match='holds images'):
        paint_predictions(SimpleNamespace(pipeline=None), tmp_path / 'src', tmp_path / 'src/sub')
    assert (tmp_path / 'src/sub/a.png').read_bytes() == b'kept'
