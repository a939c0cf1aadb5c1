"""MMREST_REQUIRE, tested by a pytest of its own on a small file."""

import os
import re
import sys
from pathlib import Path

import pytest
from conftest import run_process

TESTS_FOLDER = Path(__file__).parents[1]
CONFTEST = """
import os
from helpers.skips import Skips


def pytest_configure(config):
    config.pluginmanager.register(Skips(os.environ.get('MMREST_REQUIRE', '')))
"""
# Both are installed and cannot be imported, as mmdet cannot where a package that it needs is missing.
WHOLE_MODULE = "import pytest\npytest.importorskip('broken.part')\n\ndef test_never_run():\n    pass\n"
TESTS = """
import pytest

def test_import():
    pytest.importorskip('broken')

def test_other_import():
    pytest.importorskip('broken_too')

@pytest.fixture
def package():
    pytest.skip('needs the package broken')

def test_fixture(package):
    pass

@pytest.mark.skipif(True, reason='broken is too old')
def test_mark():
    pass

def test_gpu():
    pytest.skip('there is no GPU')

@pytest.mark.skip(reason='there is no GPU')
def test_other_gpu():
    pass

@pytest.mark.xfail(reason='broken')
def test_known_fault():
    assert False

def test_passes():
    pass
"""


def run(folder: Path, require: str, *args, status: int) -> str:
    for name in ('broken', 'broken_too'):
        (folder / name).mkdir()
        (folder / name / '__init__.py').write_text('import no_such_package\n')
    (folder / 'conftest.py').write_text(CONFTEST)
    (folder / 'test_tests.py').write_text(TESTS)
    (folder / 'test_module.py').write_text(WHOLE_MODULE)
    path = os.pathsep.join([str(folder), str(TESTS_FOLDER)])
    # No plugins but the one asked for, whose start takes longer than these tests.
    environment = {**os.environ, 'PYTHONPATH': path, 'MMREST_REQUIRE': require, 'PYTEST_DISABLE_PLUGIN_AUTOLOAD': '1'}
    return run_process(
        [sys.executable, '-m', 'pytest', '-q', '--rootdir', folder, '-c', os.devnull, *args],
        folder,
        environment,
        status,
    )


def counts(printed: str) -> dict[str, int]:
    return {
        word.rstrip('s'): int(number)
        for number, word in re.findall(r'(\d+) (\w+)', printed.splitlines()[-1])
        if word in ('passed', 'failed', 'skipped', 'xfailed', 'error', 'errors')
    }


def test_skips_without_requirement_are_counted_by_reason(tmp_path):
    printed = run(tmp_path, '', status=0)
    assert counts(printed) == dict(passed=1, skipped=7, xfailed=1)
    for line in (
        '2 there is no GPU',
        "1 could not import 'broken': No module named 'no_such_package'",
        "1 could not import 'broken.part': No module named 'no_such_package'",
        '1 needs the package broken',
    ):
        assert re.search(rf'^ +{re.escape(line)}$', printed, re.MULTILINE), printed


@pytest.mark.parametrize('workers', [[], ['-p', 'xdist.plugin', '-n', '2']], ids=['alone', 'workers'])
def test_skip_for_lack_of_a_required_package_fails(tmp_path, workers):
    """Tests, fixtures, marks and whole modules fail; skips for another package or a missing GPU do not."""
    if workers:
        pytest.importorskip('xdist')
    printed = run(tmp_path, 'broken, pytest', *workers, '--continue-on-collection-errors', status=1)
    # A test whose setup fails is an error, and so is a module.
    assert counts(printed) == dict(passed=1, failed=1, error=3, skipped=3, xfailed=1)
    assert printed.count('MMREST_REQUIRE asks for broken, so this is a failure') >= 4
    assert re.search(r"^ +1 could not import 'broken_too'", printed, re.MULTILINE)
    assert re.search(r'^ +2 there is no GPU$', printed, re.MULTILINE)


def test_skipped_module_that_lacks_a_required_package_is_an_error(tmp_path):
    assert counts(run(tmp_path, 'broken', 'test_module.py', status=2)) == dict(error=1)


def test_requirement_that_is_not_installed_ends_the_run(tmp_path):
    printed = run(tmp_path, 'pytest,no_such_package,mmdte', status=4)
    assert 'MMREST_REQUIRE names what is not installed here: no_such_package, mmdte. Install it' in printed
    assert 'Traceback' not in printed
