"""The matrix of environments: constraints of a cell, its record, and the table that docs/installation.md has of it."""

import json
import re
import sys

import pytest
from conftest import REPO

if not (REPO / '.dev_scripts').is_dir():
    pytest.skip('the scripts for maintainers are not part of this copy', allow_module_level=True)
sys.path.insert(0, str(REPO / '.dev_scripts'))

import matrix  # noqa: E402
import version_table  # noqa: E402

REPORT = """<?xml version="1.0"?><testsuites><testsuite name="pytest">
<testcase classname="tests.test_a" name="test_good"/>
<testcase classname="tests.test_a" name="test_left_out"><skipped message="no GPU"/></testcase>
<testcase classname="tests.test_a" name="test_bad[1]">
<failure message="assert 1 == 2&#10; where">text</failure></testcase>
<testcase classname="" name="tests.test_b"><error message="collection failure">ImportError: no x
more</error></testcase></testsuite></testsuites>"""
ENTRY = dict(
    date='2026-12-01',
    operators='mmrest',
    processor='A processor',
    tests='matrix',
    passed=20,
    failed=1,
    skipped=2,
    failures={'tests.test_a::test_bad': 'assert 1 == 2'},
    install_seconds=90,
    megabytes=6000,
    versions={
        'python': '3.12.1',
        'torch': 'torch 2.14.1',
        'numpy': 'numpy 2.5.5',
        'opencv': 'opencv-python 5.0.0.93, opencv-python-headless 5.0.0.93',
        'mmengine': 'onedl-mmengine 0.10.12',
        'mmcv': 'mmcv-lite 2.1.0',
        'mmdet': 'mmdet 3.3.0',
        'mmseg': 'mmsegmentation 1.2.2',
    },
)


def test_constraints_of_a_cell():
    cell = matrix.Cell('3.11', pins=('numpy==1.26.4', 'mmcv==2.1.0'), free=('Opencv_Python',))
    text = "# numpy==0\ntorch==2\nmmcv-lite==2.1.0\nnumpy==2; python_version < '3.11'\nnumpy==3\nopencv-python==5\n"
    assert matrix.make_constraints(cell, text).split('\n') == [
        'torch==2',
        'mmcv-lite==2.1.0',
        'numpy==1.26.4',
        'mmcv==2.1.0',
        '',
    ]


@pytest.mark.parametrize('name', matrix.CELLS)
def test_every_package_of_a_cell_has_a_version(name):
    """By constraints.txt or the cell; but for what the tests alone need."""
    cell = matrix.CELLS[name]
    text = matrix.make_constraints(cell, matrix.CONSTRAINTS.read_text(encoding='utf-8'))
    pinned = {matrix.package_name(line) for line in text.splitlines()} | set(cell.free)
    assert all('==' in package or matrix.package_name(package) in pinned for package in cell.packages)
    assert re.match(r'py3\d\d-', name) and name[2:].startswith(cell.python.replace('.', ''))


def test_cells_are_those_of_nox():
    text = (REPO / 'noxfile.py').read_text(encoding='utf-8')
    assert "name=f'matrix-{_name}'" in text and 'matrix.CELLS.items()' in text


def test_a_python_is_found_and_asked_for_its_version(tmp_path):
    version = '%d.%d' % sys.version_info[:2]
    shims, pyenv = tmp_path / 'shims', tmp_path / 'pyenv'
    for path in (shims / f'python{version}', pyenv / f'versions/{version}.9/bin/python'):
        path.parent.mkdir(parents=True)
        path.write_text('#!/bin/sh\nexit 127\n')
        path.chmod(0o755)
    environ = dict(PYENV_ROOT=str(pyenv), PATH=str(shims))
    assert matrix.find_python(version, environ) is None, 'both are there, neither runs'
    working = pyenv / f'versions/{version}.10/bin/python'
    working.parent.mkdir(parents=True)
    working.symlink_to(sys.executable)
    assert matrix.find_python(version, environ) == str(working)
    assert matrix.find_python('3.99', environ) is None


def test_results_of_a_report(tmp_path):
    (tmp_path / 'junit.xml').write_text(REPORT)
    assert matrix.read_results(tmp_path / 'junit.xml') == dict(
        passed=1,
        failed=2,
        skipped=1,
        failures={'tests.test_a::test_bad[1]': 'assert 1 == 2', 'tests.test_b': 'collection failure'},
    )


def test_entry_of_this_environment(tmp_path):
    (tmp_path / 'junit.xml').write_text(REPORT)
    entry = matrix.make_entry(
        matrix.CELLS['py311-default'], sys.executable, tmp_path / 'junit.xml', tmp_path, 12.3, True
    )
    assert entry['versions']['python'].startswith('%d.%d.' % sys.version_info[:2])
    assert entry['versions']['torch'].startswith('torch 2.') and entry['tests'] == 'make test'
    assert (entry['passed'], entry['install_seconds'], entry['megabytes']) == (1, 12, 0)
    json.dumps(entry)


def test_an_entry_replaces_its_own(tmp_path):
    path = tmp_path / 'compatibility.json'
    matrix.write_entry('py312-default', dict(ENTRY, passed=1), path)
    matrix.write_entry('py311-default', ENTRY, path)
    matrix.write_entry('py312-default', ENTRY, path)
    assert list(matrix.read_record(path).items()) == [('py311-default', ENTRY), ('py312-default', ENTRY)]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_table():
    header, _, *rows = version_table.render({'py312-default': ENTRY}).splitlines()
    assert header.startswith('| Python | torch, torchvision |')
    assert rows == [
        '| 3.12.1 | 2.14.1, - | 2.5.5, 5.0.0.93 | onedl-mmengine 0.10.12 | mmcv-lite 2.1.0, by mmrest | '
        '3.3.0, 1.2.2, - | selected: 20 passed, 1 failed, 2 skipped | 2026-12-01 |'
    ]


def test_writing_the_table(tmp_path, capsys):
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
    assert set(re.findall(r'\d+\.\d+\.\d+', table)) <= recorded
