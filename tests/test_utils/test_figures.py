"""Figures without a display."""

import sys

import cv2
import pytest
from conftest import run_process

from mmrest.utils.figures import FORMATS, new_figure, save_figure


@pytest.mark.parametrize('suffix', FORMATS)
def test_save_figure_writes_every_format(tmp_path, suffix):
    figure, axes = new_figure(1, 2)
    axes[0, 1].plot([1, 2], [3, 4])
    assert save_figure(figure, tmp_path / 'new' / f'plot.{suffix}').stat().st_size > 1000


def test_save_figure_size_is_that_of_the_panels(tmp_path):
    figure, axes = new_figure(2, 3, width=1.5, height=2)
    assert axes.shape == (2, 3)
    assert cv2.imread(str(save_figure(figure, tmp_path / 'plot.PNG', dpi=10))).shape == (40, 45, 3)


@pytest.mark.parametrize('name', ['plot', 'plot.txt', '.png'])
def test_save_figure_unknown_format_raises(tmp_path, name):
    with pytest.raises(ValueError, match='must end in .png'):
        save_figure(new_figure()[0], tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_save_figure_failure_keeps_the_old_file(tmp_path, monkeypatch):
    (tmp_path / 'plot.png').write_text('old')
    monkeypatch.setattr('mmrest.utils.fileio._write', lambda *_: (_ for _ in ()).throw(OSError(28, 'full')))
    with pytest.raises(OSError, match='full'):
        save_figure(new_figure()[0], tmp_path / 'plot.png')
    assert [path.read_text() for path in tmp_path.iterdir()] == ['old']


def test_new_figure_leaves_pyplot_unimported(tmp_path):
    code = (
        'import sys; from mmrest.utils.figures import new_figure; print("matplotlib" in sys.modules); '
        'new_figure(); print("matplotlib.pyplot" in sys.modules)'
    )
    assert run_process([sys.executable, '-c', code], tmp_path).split()[-1] == 'False'
