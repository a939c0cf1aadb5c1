"""The installer's decisions: what it refuses, what it skips, what it shows. Nothing is installed here."""
from __future__ import annotations

import importlib.util
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parent.parent / 'tools'


def load(name: str):
    """Load a module of tools/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, TOOLS / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # setup_env imports setup_progress by its name
    spec.loader.exec_module(module)
    return module


setup_progress = load('setup_progress')
setup_env = load('setup_env')


def facts(version=(3, 11, 7), has_header=True, missing=()):
    return {'version': list(version), 'header': '/usr/include/python3.11/Python.h', 'has_header': has_header,
            'missing': list(missing)}


# --- refusals ---

@pytest.mark.parametrize('version', [(3, 9, 0), (3, 12, 9)])
def test_supported_python_is_accepted(version):
    assert setup_env.find_problems(facts(version), 'c++', creating=True) == []


@pytest.mark.parametrize('version', [(2, 7, 18), (3, 8, 18), (3, 13, 0), (4, 0, 0)])
def test_other_python_is_refused_with_nothing_else(version):
    problems = setup_env.find_problems(facts(version, has_header=False), '', creating=True)
    assert len(problems) == 1
    assert '3.9 to 3.12' in problems[0] and 'PYTHON=' in problems[0]


@pytest.mark.parametrize('changes, compiler, expected', [
    ({}, '', 'build-essential'),
    ({'has_header': False}, 'c++', 'python3.11-dev'),
    ({'missing': ['ensurepip']}, 'c++', 'python3.11-venv'),
])
def test_missing_prerequisite_is_named_with_its_package(changes, compiler, expected):
    problems = setup_env.find_problems(facts(**changes), compiler, creating=True)
    assert len(problems) == 1 and expected in problems[0]


def test_venv_module_does_not_matter_once_the_environment_exists():
    assert setup_env.find_problems(facts(missing=['ensurepip']), 'c++', creating=False) == []


def test_all_missing_prerequisites_are_named_at_once():
    problems = setup_env.find_problems(facts(has_header=False, missing=['venv']), '', creating=True)
    assert len(problems) == 3


@pytest.mark.parametrize('environ, on_path, expected', [
    ({}, ['g++'], 'g++'),
    ({}, ['c++', 'g++'], 'c++'),
    ({}, [], ''),
    ({'CXX': 'clang++-17 -O1'}, ['clang++-17', 'c++'], 'clang++-17'),
    ({'CXX': 'absent'}, ['c++'], ''),
])
def test_compiler_is_found(environ, on_path, expected):
    assert setup_env.find_compiler(environ, which=lambda name: name if name in on_path else None) == expected


def test_refusal_is_a_plain_message_and_touches_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(setup_env, 'find_compiler', lambda environ: '')
    monkeypatch.setattr(sys, 'argv', ['setup_env.py', '--venv', str(tmp_path / 'env')])
    assert setup_env.main() == 1
    error = capsys.readouterr().err
    assert 'No C++ compiler' in error and 'Traceback' not in error
    assert not (tmp_path / 'env').exists()


def test_facts_of_this_python():
    found = setup_env.python_facts(sys.executable)
    assert tuple(found['version']) == sys.version_info[:3]
    assert found['header'].endswith('Python.h')


# --- the environment and its stamp ---

def make_venv(path: Path) -> None:
    (path / 'bin').mkdir(parents=True)
    (path / 'bin' / 'python').symlink_to(sys.executable)


def test_stamp_makes_ready_and_any_change_ends_it(tmp_path):
    venv, source = tmp_path / 'env', tmp_path / 'constraints.txt'
    source.write_text('mmcv==2.1.0')
    make_venv(venv)
    first = setup_env.fingerprint(tmp_path, [source])
    assert not setup_env.is_ready(venv, first)
    (venv / setup_env.STAMP_NAME).write_text(first + '\n')
    assert setup_env.is_ready(venv, first)
    source.write_text('mmcv==2.0.0')
    assert not setup_env.is_ready(venv, setup_env.fingerprint(tmp_path, [source]))
    assert setup_env.fingerprint(tmp_path / 'moved', [source]) != setup_env.fingerprint(tmp_path, [source])


def test_stamp_does_not_count_without_a_python(tmp_path):
    (tmp_path / setup_env.STAMP_NAME).write_text('hash')
    assert not setup_env.is_ready(tmp_path, 'hash')


def test_environment_without_pip_is_not_taken_for_one_that_works(tmp_path):
    subprocess.check_call([sys.executable, '-m', 'venv', '--without-pip', str(tmp_path / 'env')])
    assert not setup_env.venv_works(tmp_path / 'env')
    assert not setup_env.venv_works(tmp_path / 'nothing')


def test_a_folder_that_is_no_environment_is_left_alone(tmp_path):
    (tmp_path / 'precious.txt').write_text('data')
    with pytest.raises(setup_progress.SetupError, match='not a virtual environment'):
        setup_env.create_venv(tmp_path)
    assert (tmp_path / 'precious.txt').exists()


def test_stale_stamp_is_gone_when_a_step_fails(tmp_path, monkeypatch):
    stamp = tmp_path / setup_env.STAMP_NAME
    stamp.write_text('of an earlier run')
    monkeypatch.setattr(setup_env, 'venv_works', lambda venv: True)
    monkeypatch.setattr(setup_env, 'python_facts', lambda python: facts())
    monkeypatch.setattr(setup_env, 'find_compiler', lambda environ: 'c++')

    def fail(self):
        raise setup_progress.SetupError('torch failed.')

    monkeypatch.setattr(setup_env.Installer, 'install', fail)
    with pytest.raises(setup_progress.SetupError, match='torch failed'):
        setup_env.set_up(tmp_path)
    assert not stamp.exists()


# --- mmcv and OpenCV ---

GOOD_OPS = {'gpu': False, 'version': '2.1.0', 'cuda_ops': False, 'error': ''}


@pytest.mark.parametrize('change, wants_cuda, expected', [
    ({}, False, ''),
    ({'cuda_ops': True}, True, ''),
    ({'error': "No module named 'mmcv._ext'"}, False, '_ext'),
    ({'version': '2.2.0'}, False, '2.2.0'),
    ({}, True, 'CPU only'),
])
def test_ops_problem(change, wants_cuda, expected):
    problem = setup_env.find_ops_problem({**GOOD_OPS, **change}, wants_cuda)
    assert expected in problem and bool(problem) == bool(expected)


class FakeInstaller(setup_env.Installer):
    """Records pip's arguments; `states` are what the environment answers, one after another."""

    def __init__(self, states=(), errors=()):
        super().__init__(Path('env'), {})
        self.states, self.errors, self.calls = list(states), list(errors), []

    def pip(self, label, *arguments, log=''):
        self.calls.append(arguments)

    def ops_state(self):
        return self.states.pop(0)

    def run_python(self, code):
        return '', self.errors.pop(0)


@pytest.fixture
def no_nvcc(monkeypatch):
    monkeypatch.setattr(setup_env, 'find_nvcc', lambda environ: False)


def test_working_ops_are_not_built_again(no_nvcc):
    installer = FakeInstaller([GOOD_OPS])
    installer.install_mmcv()
    assert installer.calls == []


def test_useless_cached_ops_are_built_anew_once(no_nvcc):
    broken = {**GOOD_OPS, 'error': 'undefined symbol: x'}
    installer = FakeInstaller([broken, broken, GOOD_OPS])
    installer.install_mmcv()
    assert len(installer.calls) == 2
    assert '--no-cache-dir' not in installer.calls[0]
    assert {'--no-cache-dir', '--force-reinstall', '--no-deps'} <= set(installer.calls[1])


def test_ops_that_never_work_end_in_one_message(no_nvcc):
    broken = {**GOOD_OPS, 'error': 'undefined symbol: x'}
    with pytest.raises(setup_progress.SetupError, match='undefined symbol'):
        FakeInstaller([broken] * 3).install_mmcv()


def test_gpu_without_nvcc_builds_for_the_cpu(no_nvcc):
    missing = {**GOOD_OPS, 'gpu': True, 'error': "No module named 'mmcv'"}
    installer = FakeInstaller([missing, GOOD_OPS])
    installer.install_mmcv()
    assert installer.environ['CUDA_VISIBLE_DEVICES'] == ''
    assert len(installer.calls) == 1


def test_missing_libgl_brings_headless_opencv(capsys):
    installer = FakeInstaller(errors=['ImportError: libGL.so.1: cannot open shared object file', ''])
    installer.install_opencv_that_works()
    assert 'opencv-python-headless' in installer.calls[0]
    assert 'libGL' in capsys.readouterr().out


def test_other_opencv_errors_are_not_hidden():
    with pytest.raises(setup_progress.SetupError, match='bad numpy'):
        FakeInstaller(errors=['ImportError: bad numpy']).install_opencv_that_works()


@pytest.mark.parametrize('errors, steps', [
    ([''], []),  # there already
    (['No module', ''], ['plain']),
    (['No module', 'operator torchvision::nms does not exist'], ['plain', 'aside']),
])
def test_torchvision_that_does_not_fit_is_kept_aside(monkeypatch, errors, steps):
    removed = []
    monkeypatch.setattr(setup_env.subprocess, 'check_call', lambda command, env: removed.append(command))
    installer = FakeInstaller(errors=errors)
    installer.install_torchvision()
    assert ['aside' if '--target' in call else 'plain' for call in installer.calls] == steps
    assert ['uninstall' in command for command in removed] == [True] * ('aside' in steps)


def test_tests_look_where_torchvision_is_kept():
    from torchvision_operators import ASIDE
    assert ASIDE.name == setup_env.ASIDE


def test_user_settings_reach_the_build(monkeypatch):
    monkeypatch.setenv('MAX_JOBS', '1')
    monkeypatch.setenv('PYTHONPATH', '/elsewhere')
    monkeypatch.delenv('CXX', raising=False)
    environ = setup_env.child_environment('g++')
    assert environ['MAX_JOBS'] == '1' and environ['CXX'] == 'g++' and 'PYTHONPATH' not in environ


# --- progress, logs and failures ---

@pytest.mark.parametrize('line, expected', [
    ('  [12/77] c++ -MMD -MF build/nms.o.d -pthread\n', '12/77 files'),
    ('  Downloading torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl (191.8 MB)\n',
     'downloading torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl (191.8 MB)'),
    ('Installing collected packages: mmcv\n', 'installing'),
    ('  array[1/2] = 3;\n', ''),
    ('\n', ''),
])
def test_activity(line, expected):
    assert setup_progress.parse_activity(line) == expected


class Terminal(io.StringIO):
    def isatty(self):
        return True


def run_progress(stream, seconds: int) -> str:
    """What a step of so many seconds shows, with one line of output a second."""
    now = 0
    progress = setup_progress.Progress('mmcv ops', stream, clock=lambda: now)
    for now in range(1, seconds + 1):  # noqa: B007 - the clock reads it
        progress.update(f'{now // 10}/77 files')
    progress.finish('done')
    return stream.getvalue()


def test_progress_is_rewritten_on_a_terminal():
    output = run_progress(Terminal(), 190)
    assert '\rmmcv ops: 19/77 files, 3 min 10 s\x1b[K' in output
    assert output.count('\n') == 1


def test_progress_is_a_line_every_half_minute_elsewhere():
    lines = run_progress(io.StringIO(), 190).splitlines()
    assert lines[0] == 'mmcv ops: 3/77 files, 30 s'
    assert len(lines) == 7
    assert lines[-1] == 'mmcv ops: done (3 min 10 s)'


def test_failure_shows_the_error_and_where_the_log_is(tmp_path, capsys):
    code = 'print("[1/2] c++ -c x.cpp"); print("c++: fatal error: Killed signal terminated cc1plus"); exit(1)'
    log = tmp_path / 'logs' / 'step.log'
    with pytest.raises(setup_progress.SetupError) as raised:
        setup_progress.run_logged('mmcv ops', [sys.executable, '-c', code], log, dict(os.environ))
    message = str(raised.value)
    assert 'Killed signal' in message and str(log) in message and 'MAX_JOBS=1' in message
    assert '[1/2]' not in message
    assert '[1/2] c++ -c x.cpp' in log.read_text()
    assert 'mmcv ops: failed' in capsys.readouterr().out


def test_success_keeps_the_log(tmp_path):
    setup_progress.run_logged('step', [sys.executable, '-c', 'print("fine")'], tmp_path / 'a.log',
                              dict(os.environ))
    assert (tmp_path / 'a.log').read_text() == 'fine\n'


def test_early_errors_are_shown_with_the_end():
    lines = ['nms.cpp:12:5: error: no such thing\n'] + [f'later line {i}\n' for i in range(500)]
    shown = setup_progress.relevant_lines(lines)
    assert shown[0] == 'nms.cpp:12:5: error: no such thing'
    assert shown[-1] == 'later line 499'
    assert len(shown) <= 30


@pytest.mark.parametrize('text, expected', [
    ('OSError: [Errno 28] No space left on device', 'disk is full'),
    ('The detected CUDA version (13.0) mismatches the version', 'CUDA_VISIBLE_DEVICES='),
    ('ERROR: No matching distribution found for mmcv', 'network'),
    ("No CUDA runtime is found, using CUDA_HOME='/usr/local/cuda'", ''),
])
def test_hints(text, expected):
    hint = setup_progress.find_hint([text])
    assert expected in hint and bool(hint) == bool(expected)
