"""Tables, plots and fits of measurements."""

import pytest

from mmrest.benchmark import format_table
from mmrest.benchmark.report import fit_power, fit_quadratic, plot_bars, plot_sweep
from mmrest.utils.figures import FORMATS


@pytest.mark.parametrize('ending', FORMATS)
def test_plot_bars_writes_every_format(tmp_path, ending):
    out = plot_bars([dict(model='a', MB=1.0)], ['MB'], 'title', tmp_path / f'bars.{ending}')
    assert out.stat().st_size > 1000


def test_plot_bars_with_full_disk_keeps_the_old_file(tmp_path, monkeypatch):
    (tmp_path / 'bars.png').write_text('old')
    monkeypatch.setattr('mmrest.utils.fileio._write', lambda *_: (_ for _ in ()).throw(OSError(28, 'full')))
    with pytest.raises(OSError):
        plot_bars([dict(model='a', MB=1.0)], ['MB'], 'title', tmp_path / 'bars.png')
    assert [path.read_text() for path in tmp_path.iterdir()] == ['old']


def test_table_and_plots_take_missing_numbers(tmp_path):
    rows = [dict(model='rest-a', shape=(10, 10), MB=1.0, seconds=123.4), dict(model='b', shape=(10, 10), MB='timeout')]
    table = format_table(rows, ('model', 'MB', 'seconds')).splitlines()
    assert table[2].split('|')[1:4] == [' rest-a ', '       1 ', '     123 '] and 'timeout' in table[3]
    assert plot_bars(rows, ('MB', 'seconds'), 'title', tmp_path / 'a' / 'bars.png').stat().st_size > 1000
    assert plot_sweep(rows, 'title', tmp_path / 'sweep.png').stat().st_size > 1000


def test_fits_recover_exact_coefficients():
    assert fit_power([(x, 3 * x**2) for x in (1, 2, 5)]) == pytest.approx(2)
    assert fit_quadratic([(x, 4 * x + 3 * x**2) for x in (1, 2, 5)]) == pytest.approx((4, 3))
