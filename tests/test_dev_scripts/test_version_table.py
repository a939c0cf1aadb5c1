"""The table of tested versions in docs/installation.md, and its summary in README.md."""

import re
import sys

import pytest
from conftest import REPO
from helpers.matrix_entries import ENTRY

if not (REPO / '.dev_scripts').is_dir():
    pytest.skip('the scripts for maintainers are not part of this copy', allow_module_level=True)
sys.path.insert(0, str(REPO / '.dev_scripts'))

import matrix  # noqa: E402
import version_table  # noqa: E402


def test_render_of_an_entry_gives_its_row():
    header, _, *rows = version_table.render({'py312-default': ENTRY}).splitlines()
    assert header.startswith('| Python | torch, torchvision |')
    assert rows == [
        '| 3.12.1 | 2.14.1, - | 2.5.5, 5.0.0.93 | onedl-mmengine 0.10.12 | mmcv-lite 2.1.0, by mmrest | '
        '3.3.0, 1.2.2, - | selected: 20 passed, 1 failed, 2 skipped | 2026-12-01 |'
    ]


def test_write_replaces_only_the_table(tmp_path, capsys):
    page = tmp_path / 'README.md'
    page.write_text(f'before\n{version_table.BEGIN}\nold\n{version_table.END}\nafter\n')
    version_table.main(['--write'], page)
    table = version_table.render(matrix.read_record())
    assert page.read_text() == f'before\n{version_table.BEGIN}\n{table}\n{version_table.END}\nafter\n'
    page.write_text('nothing')
    with pytest.raises(SystemExit, match='needs the lines'):
        version_table.main(['--write'], page)
    assert page.read_text() == 'nothing'
    version_table.main([], page)
    assert capsys.readouterr().out == table + '\n'


def test_version_table_in_installation_page_matches_the_record():
    text = (REPO / 'docs/installation.md').read_text(encoding='utf-8')
    assert text == version_table.insert_table(text, version_table.render(matrix.read_record())), (
        'run: python .dev_scripts/version_table.py --write'
    )


def test_version_summary_in_readme_matches_the_record():
    text = (REPO / 'README.md').read_text(encoding='utf-8')
    table = re.search(r'^\| works with .*?\n\n', text, re.MULTILINE | re.DOTALL)[0]
    torch = [re.match(r'torch ([\d.]+)', entry['versions']['torch'])[1] for entry in matrix.read_record().values()]
    torch.sort(key=lambda version: tuple(map(int, version.split('.'))))
    assert f'| {torch[0]} to {torch[-1]} |' in table
    recorded = {
        version for entry in matrix.read_record().values() for version in re.findall(r'\d+(?:\.\d+)+', str(entry))
    }
    assert set(re.findall(r'\d+\.\d+\.\d+', table)) - recorded == set()
