"""The matrix of environments: constraints of a cell and its record."""

import json
import re
import sys

import pytest
from conftest import REPO
from helpers.matrix_entries import ENTRY

if not (REPO / '.dev_scripts').is_dir():
    pytest.skip('the scripts for maintainers are not part of this copy', allow_module_level=True)
sys.path.insert(0, str(REPO / '.dev_scripts'))

import matrix  # noqa: E402

REPORT = """<?xml version="1.0"?><testsuites><testsuite name="pytest">
<testcase classname="tests.test_a" name="test_good"/>
<testcase classname="tests.test_a" name="test_left_out"><skipped message="no GPU"/></testcase>
<testcase classname="tests.test_a" name="test_bad[1]">
<failure message="assert 1 == 2&#10; where">text</failure></testcase>
<testcase classname="" name="tests.test_b"><error message="collection failure">ImportError: no x
more</error></testcase></testsuite></testsuites>"""


def test_constraints_of_a_cell_apply_its_pins():
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
def test_cell_packages_all_have_a_version(name):
    """Versions come from constraints.txt or the cell."""
    cell = matrix.CELLS[name]
    text = matrix.make_constraints(cell, matrix.CONSTRAINTS.read_text(encoding='utf-8'))
    pinned = {matrix.package_name(line) for line in text.splitlines()} | set(cell.free)
    assert [name for name in cell.packages if '==' not in name and matrix.package_name(name) not in pinned] == []
    assert re.match(r'py3\d\d-', name) and name[2:].startswith(cell.python.replace('.', ''))


def test_noxfile_has_a_session_for_every_cell():
    text = (REPO / 'noxfile.py').read_text(encoding='utf-8')
    assert "name=f'matrix-{_name}'" in text and 'matrix.CELLS.items()' in text


def test_find_python_skips_interpreters_that_do_not_run(tmp_path):
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


def test_results_of_a_junit_report_are_counted(tmp_path):
    (tmp_path / 'junit.xml').write_text(REPORT)
    assert matrix.read_results(tmp_path / 'junit.xml') == dict(
        passed=1,
        failed=2,
        skipped=1,
        failures={'tests.test_a::test_bad[1]': 'assert 1 == 2', 'tests.test_b': 'collection failure'},
    )


def test_entry_of_this_environment_has_its_versions(tmp_path):
    (tmp_path / 'junit.xml').write_text(REPORT)
    entry = matrix.make_entry(
        matrix.CELLS['py311-default'], sys.executable, tmp_path / 'junit.xml', tmp_path, 12.3, True
    )
    assert entry['versions']['python'].startswith('%d.%d.' % sys.version_info[:2])
    assert entry['versions']['torch'].startswith('torch 2.') and entry['tests'] == 'make test'
    assert (entry['passed'], entry['install_seconds'], entry['megabytes']) == (1, 12, 0)
    json.dumps(entry)


def test_written_entry_replaces_its_predecessor(tmp_path):
    path = tmp_path / 'compatibility.json'
    matrix.write_entry('py312-default', dict(ENTRY, passed=1), path)
    matrix.write_entry('py311-default', ENTRY, path)
    matrix.write_entry('py312-default', ENTRY, path)
    assert list(matrix.read_record(path).items()) == [('py311-default', ENTRY), ('py312-default', ENTRY)]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
