"""Decisions of the installer: refusals, uv or pip, stamps, removals. Nothing is fetched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.tools import TOOLS, load_tool

setup_progress = load_tool('setup_progress')
setup_env = load_tool('setup_env')


def facts(version=(3, 11, 7), missing=()):
    return {'version': list(version), 'missing': list(missing)}


@pytest.mark.parametrize('version', [(3, 10, 0), (3, 13, 9)])
def test_find_problems_accepts_a_supported_python(version):
    assert setup_env.find_problems(facts(version), creating=True) == []


@pytest.mark.parametrize(
    'version, why',
    [
        ((2, 7, 18), '3.10 to 3.13'),
        ((3, 9, 25), '3.10 to 3.13'),
        ((3, 14, 0), 'pkgutil.find_loader'),
        ((4, 0, 0), '3.10 to 3.13'),
    ],
)
def test_find_problems_refuses_another_python_alone(version, why):
    (problem,) = setup_env.find_problems(facts(version, missing=['venv']), creating=True)
    assert why in problem and 'PYTHON=' in problem and 'make clean' not in problem


def test_find_problems_of_an_environment_with_old_python_asks_to_remake_it():
    (problem,) = setup_env.find_problems(facts((3, 9, 18)), creating=False)
    assert 'make clean && make install PYTHON=' in problem


def test_find_problems_names_the_package_of_a_missing_module():
    (problem,) = setup_env.find_problems(facts(missing=['ensurepip']), creating=True)
    assert 'apt-get install python3.11-venv' in problem
    assert setup_env.find_problems(facts(missing=['ensurepip']), creating=False) == []
    assert setup_env.find_problems(facts(missing=['ensurepip']), creating=True, uv='/bin/uv') == []


def test_main_with_unsupported_python_prints_a_message_and_makes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(setup_env, 'python_facts', lambda python: facts((3, 14, 1)))
    monkeypatch.setattr(sys, 'argv', ['setup_env.py', '--venv', str(tmp_path / 'env')])
    assert setup_env.main() == 1
    error = capsys.readouterr().err
    assert 'Python 3.14.1 cannot be used' in error and 'Traceback' not in error
    assert not (tmp_path / 'env').exists()


def test_python_facts_give_the_version():
    assert tuple(setup_env.python_facts(sys.executable)['version']) == sys.version_info[:3]


def test_setup_files_have_syntax_that_old_pythons_read():
    import ast

    for name in ('setup_env', 'setup_progress'):
        ast.parse((TOOLS / f'{name}.py').read_text(), feature_version=(3, 5))


@pytest.mark.parametrize(
    'variables, config, expected',
    [
        ({}, '', '/bin/uv'),
        ({'PIP_NO_INPUT': '1', 'PIP_INDEX_URL': ''}, "global.timeout='60'", '/bin/uv'),
        ({'MMREST_NO_UV': '1'}, '', ''),
        ({'PIP_FIND_LINKS': '/wheels'}, '', ''),
        ({'PIP_EXTRA_INDEX_URL': 'https://mirror/simple'}, '', ''),
        ({}, "global.index-url='https://mirror/simple'", ''),
        ({}, ":env:.timeout='60'\ninstall.constraint='/etc/limits.txt'", ''),
    ],
)
def test_choose_uv_unless_pip_is_configured(tmp_path, capsys, variables, config, expected):
    python = tmp_path / 'python'
    python.write_text(f'#!/bin/sh\necho "{config}"\n')
    python.chmod(0o755)
    environ = {'PATH': os.environ['PATH'], **variables}
    assert setup_env.choose_uv(str(python), environ, which=lambda name: f'/bin/{name}') == expected
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) == (not expected and 'MMREST_NO_UV' not in variables)


def test_find_pip_settings_reads_its_file(tmp_path):
    (tmp_path / 'pip.conf').write_text('[install]\nfind-links = /wheels\n')
    environ = {'PATH': os.environ['PATH'], 'PIP_CONFIG_FILE': str(tmp_path / 'pip.conf')}
    assert 'find-links' in setup_env.find_pip_settings(sys.executable, environ)


def test_choose_uv_without_uv_does_not_run_pip():
    assert setup_env.choose_uv('/no/python', {'PIP_FIND_LINKS': '/wheels'}, which=lambda name: None) == ''


def test_installer_command_of_pip_and_uv():
    pip, uv = (setup_env.Installer(Path('env'), {}, uv) for uv in ('', '/bin/uv'))
    assert pip.command('install', 'six') == ['env/bin/python', '-m', 'pip', 'install', 'six']
    assert uv.command('install', 'six') == ['/bin/uv', 'pip', 'install', '--python', 'env/bin/python', 'six']
    assert '-y' in pip.command('uninstall', 'six') and '-y' not in uv.command('uninstall', 'six')


def test_child_environment_keeps_user_settings():
    environ = setup_env.child_environment({'PIP_RETRIES': '9', 'UV_LINK_MODE': 'copy', 'PYTHONPATH': '/elsewhere'})
    assert environ['PIP_RETRIES'] == '9' and environ['UV_LINK_MODE'] == 'copy' and 'PYTHONPATH' not in environ


def make_venv(path: Path) -> None:
    (path / 'bin').mkdir(parents=True)
    (path / 'bin' / 'python').symlink_to(sys.executable)


def test_stamp_makes_ready_until_the_sources_change(tmp_path):
    venv, source = tmp_path / 'env', tmp_path / 'constraints.txt'
    source.write_text('torch==2.14.1')
    make_venv(venv)
    first = setup_env.fingerprint(tmp_path, [source])
    assert not setup_env.is_ready(venv, first)
    (venv / setup_env.STAMP_NAME).write_text(first + '\n')
    assert setup_env.is_ready(venv, first)
    source.write_text('torch==2.4.0')
    assert not setup_env.is_ready(venv, setup_env.fingerprint(tmp_path, [source]))
    assert setup_env.fingerprint(tmp_path / 'moved', [source]) != setup_env.fingerprint(tmp_path, [source])


def test_stamp_without_a_python_does_not_count(tmp_path):
    (tmp_path / setup_env.STAMP_NAME).write_text('hash')
    assert not setup_env.is_ready(tmp_path, 'hash')


def test_venv_without_pip_works_only_with_uv(tmp_path):
    subprocess.check_call([sys.executable, '-m', 'venv', '--without-pip', str(tmp_path / 'env')])
    assert not setup_env.venv_works(tmp_path / 'env')
    assert setup_env.venv_works(tmp_path / 'env', uv='/bin/uv')  # which needs no pip
    for uv in ('', '/bin/uv'):
        assert not setup_env.venv_works(tmp_path / 'nothing', uv)


def test_create_venv_in_another_folder_is_refused(tmp_path):
    (tmp_path / 'precious.txt').write_text('data')
    with pytest.raises(setup_progress.SetupError, match='not a virtual environment'):
        setup_env.create_venv(tmp_path)
    assert (tmp_path / 'precious.txt').exists()


def test_failed_step_removes_the_stale_stamp(tmp_path, monkeypatch):
    stamp = tmp_path / setup_env.STAMP_NAME
    stamp.write_text('of an earlier run')
    monkeypatch.setattr(setup_env, 'venv_works', lambda venv, uv: True)
    monkeypatch.setattr(setup_env, 'python_facts', lambda python: facts())

    def fail(self):
        raise setup_progress.SetupError('torch failed.')

    monkeypatch.setattr(setup_env.Installer, 'install', fail)
    with pytest.raises(setup_progress.SetupError, match='torch failed'):
        setup_env.set_up(tmp_path, no_uv=True)
    assert not stamp.exists()


class FakeInstaller(setup_env.Installer):
    """An installer that records labels and commands; ``answers`` are what the environment's Python prints, in turn."""

    def __init__(self, venv=Path('env'), answers=()):
        super().__init__(venv, {})
        self.answers, self.steps = list(answers), []

    def run(self, label, command):
        self.steps.append((label, command))

    def run_python(self, code):
        return self.answers.pop(0)


def test_missing_libgl_brings_headless_opencv(capsys):
    installer = FakeInstaller(answers=[('', 'ImportError: libGL.so.1: cannot open shared object file'), ('', '')])
    installer.install_opencv_that_works()
    assert 'opencv-python-headless' in installer.steps[0][1]
    assert 'libGL' in capsys.readouterr().out


def test_other_opencv_error_is_raised():
    with pytest.raises(setup_progress.SetupError, match='bad numpy'):
        FakeInstaller(answers=[('', 'ImportError: bad numpy')]).install_opencv_that_works()


@pytest.mark.parametrize(
    'installed, removed',
    [
        ([], []),
        (['mmcv-lite', 'mmengine'], []),
        (['mmcv', 'mmengine'], ['mmcv']),
        (['mmcv', 'mmcv-lite', 'mmdet'], ['mmcv', 'mmcv-lite']),
        (['mmdet', 'mmengine', 'onedl-mmcv', 'onedl-mmengine'], ['mmengine', 'onedl-mmcv', 'onedl-mmengine']),
    ],
)
def test_install_first_removes_what_shares_files(tmp_path, installed, removed):
    (tmp_path / 'torchvision-aside').mkdir()
    installer = FakeInstaller(tmp_path, [(json.dumps(installed), ''), ('', '')])
    installer.install()
    uninstalls = [command for _, command in installer.steps if 'uninstall' in command]
    assert [command[-len(removed) :] for command in uninstalls] == [removed] * bool(removed)
    assert not uninstalls or installer.steps[0][1] == uninstalls[0]
    assert [label for label, _ in installer.steps[len(uninstalls) :]] == [
        'build tools',
        'packages',
        'mmrest',
        'mmcv operators',
    ]
    assert list(tmp_path.iterdir()) == []


def test_distributions_probe_finds_installed_ones():
    names = ['pytest', 'mmcv-full-of-nothing']
    output, error = setup_env.Installer(Path(sys.prefix), dict(os.environ)).run_python(
        setup_env.DISTRIBUTIONS_PROBE.format(names)
    )
    assert (json.loads(output), error) == (['pytest'], '')
