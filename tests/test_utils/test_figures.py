"""Figures without a display."""

import re
import sys
from xml.etree import ElementTree

import cv2
import pytest
from conftest import run_process

from mmrest.utils.figures import FORMATS, figure_to_svg, new_figure, save_figure


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


def test_figure_to_svg_is_an_element_in_the_colors_of_its_page():
    figure, ((axis,),) = new_figure()
    axis.plot([1, 2], [3, 4], label='a <b> & c', color='#ff0000')
    axis.legend()
    first, second = figure_to_svg(figure, 'one'), figure_to_svg(figure, 'two')
    root = ElementTree.fromstring(first)
    assert root.tag == '{http://www.w3.org/2000/svg}svg' and root.get('fill') == 'currentColor'
    texts = [element.text for element in root.iter('{http://www.w3.org/2000/svg}text')]
    assert 'a <b> & c' in texts
    styles = ' '.join(element.get('style', '') for element in root.iter())
    assert 'stroke: #ff0000' in styles and 'currentColor' in styles
    assert [color for color in ('#000000', 'fill: #ffffff; opacity: 1') if color in styles] == []
    # Ids are unique on a page, and what refers to them finds them.
    ids = set(re.findall(r'\bid="([^"]+)"', first))
    assert set(re.findall(r'(?:url\(|href=")#([^")]+)', first)) <= ids
    assert ids.isdisjoint(re.findall(r'\bid="([^"]+)"', second)) and len(ids) > 5
