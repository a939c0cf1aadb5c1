"""Text tables."""

import pytest

from mmrest.utils.tables import format_markdown, format_table


def test_format_table_aligns_text_left_and_numbers_right():
    assert format_table(['model', 'MB'], [['a', 1], ['longer', 1234]]).splitlines() == [
        '| model  |   MB |',
        '|--------|------|',
        '| a      |    1 |',
        '| longer | 1234 |',
    ]


def test_format_table_text_columns_are_aligned_left():
    assert format_table(['a', 'b'], [['x', 'yy'], ['xx', 'y']], text_columns=2).splitlines()[-1] == '| xx | y  |'


@pytest.mark.parametrize('cell', ['[red]x[/red]', ':smile:', 'x' * 300, 'https://a/b', "'quoted' 1.5"])
def test_format_table_special_cells_are_kept_as_text(cell, monkeypatch):
    monkeypatch.setenv('FORCE_COLOR', '1')
    monkeypatch.setenv('COLUMNS', '40')
    assert format_table(['name'], [[cell]]).splitlines()[-1] == f'| {cell.ljust(4)} |'


def test_format_table_without_rows_has_its_header():
    assert format_table(['a', 'b'], []).splitlines() == ['| a | b |', '|---|---|']


def test_format_markdown_has_no_padding():
    assert format_markdown(['a', 'b'], [['long', 1]]) == '| a | b |\n| --- | --- |\n| long | 1 |'
