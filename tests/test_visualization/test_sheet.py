"""Contact sheets."""

import numpy as np
import pytest
from helpers.pictures import color_share

pytest.importorskip('PIL')
pytest.importorskip('matplotlib')

from mmrest.visualization.sheet import contact_sheet  # noqa: E402


def test_contact_sheet_holds_every_picture():
    sheet = contact_sheet([(np.full((300, 200 + i, 3), 7, np.uint8), f'{i}: name') for i in range(5)], width=100)
    assert sheet.shape[1] == 4 * 108 + 8 and color_share(sheet, (7, 7, 7)) > 0.25
