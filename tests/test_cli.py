"""The launcher: threads and memory pages for the machine at hand, before torch is loaded."""

import os
import subprocess
import sys
import types
import warnings

import pytest
from conftest import REPO, run_process

import mmrest_cli

SET = dict(THP_MEM_ALLOC_ENABLE='0')


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A function that gives the launcher a machine: cores, how many of them others use, a quota, huge pages."""

    def pretend(cores=4, used=0.0, quota=None, pages='always [madvise] never'):
        monkeypatch.delitem(sys.modules, 'torch', raising=False)
        monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: set(range(cores)))
        monkeypatch.setattr(mmrest_cli, 'measure_load', lambda _: used)
        monkeypatch.setattr(mmrest_cli, 'read_quota', lambda: quota)
        (tmp_path / 'enabled').write_text(pages)
        monkeypatch.setattr(mmrest_cli, 'HUGE_PAGES', tmp_path / 'enabled')

    return pretend


@pytest.mark.parametrize(
    'found, environ, expected',
    [
        (dict(), {}, {}),
        (dict(used=0.4), {}, {}),
        (dict(used=1.0), {}, dict(OMP_WAIT_POLICY='PASSIVE')),
        (dict(used=None), {}, {}),
        (dict(used=1.0), dict(OMP_NUM_THREADS='3'), {}),  # there is a core for each thread
        (dict(used=2.0), dict(OMP_NUM_THREADS='3'), dict(OMP_WAIT_POLICY='PASSIVE')),
        (dict(used=4.0), dict(OMP_NUM_THREADS='1'), {}),  # waits for nobody
        (dict(used=4.0), dict(OMP_WAIT_POLICY='ACTIVE'), {}),
        (dict(used=4.0), dict(GOMP_SPINCOUNT='7'), {}),
        (dict(quota=2.5), {}, dict(OMP_NUM_THREADS='2')),
        (dict(quota=0.5), {}, dict(OMP_NUM_THREADS='1')),
        (dict(quota=8.0), {}, {}),
        (dict(quota=2.0), dict(OMP_NUM_THREADS='4,2'), {}),
        (dict(quota=2.0, used=3.0), {}, dict(OMP_NUM_THREADS='2', OMP_WAIT_POLICY='PASSIVE')),
    ],
)
def test_threads_suit_the_machine_and_what_is_set_is_kept(machine, capsys, found, environ, expected):
    machine(**found)
    after = {**SET, **environ}
    mmrest_cli.prepare_process(after)
    assert after == {**SET, **environ, **expected}
    said = capsys.readouterr().err
    assert said.count('\n') == len(expected) and all(f'{name}={value}' in said for name, value in expected.items())


@pytest.mark.parametrize(
    'pages, environ, expected',
    [
        ('always [madvise] never', {}, '1'),
        ('[always] madvise never', {}, '1'),
        ('always madvise [never]', {}, None),
        ('[always] madvise never', dict(THP_MEM_ALLOC_ENABLE='0'), '0'),
    ],
)
def test_huge_pages_are_used_where_the_kernel_has_them(machine, pages, environ, expected):
    machine(pages=pages)
    mmrest_cli.prepare_process(environ)
    assert environ.get('THP_MEM_ALLOC_ENABLE') == expected


def test_nothing_is_set_once_torch_is_loaded(machine):
    machine(used=4.0)
    sys.modules['torch'] = object()
    environ = {}
    mmrest_cli.prepare_process(environ)
    assert environ == {}


@pytest.mark.parametrize(
    'files, group, expected',
    [
        ({}, '0::/\n', None),
        ({'cpu.max': 'max 100000\n'}, '0::/\n', None),
        ({'cpu.max': '150000 100000\n'}, '0::/\n', 1.5),
        ({'a/cpu.max': '200000 100000\n', 'a/b/cpu.max': 'max 100000\n'}, '0::/a/b\n', 2.0),
        ({'a/cpu.max': '200000 100000\n', 'a/b/cpu.max': '100000 100000\n'}, '0::/a/b\n', 1.0),
        ({'other/cpu.max': '100000 100000\n'}, '0::/a\n', None),
        ({'cpu/cpu.cfs_quota_us': '300000\n', 'cpu/cpu.cfs_period_us': '100000\n'}, '4:cpu:/x\n', 3.0),
        ({'cpu/cpu.cfs_quota_us': '-1\n', 'cpu/cpu.cfs_period_us': '100000\n'}, '4:cpu:/x\n', None),
    ],
)
def test_quota_is_the_smallest_of_the_groups(tmp_path, files, group, expected):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / 'own').write_text(group)
    assert mmrest_cli.read_quota(tmp_path, tmp_path / 'own') == expected


def test_load_is_that_of_the_own_cores(monkeypatch, tmp_path):
    before = 'cpu  9 9 9 9\ncpu0 10 0 10 80 0 0 0 0 0 0\ncpu1 0 0 0 100 0 0 0 0 0 0\ncpu2 0 0 0 0 0 0 0 0 0 0\n'
    after = 'cpu  9 9 9 9\ncpu0 20 0 10 80 0 0 0 0 0 0\ncpu1 0 0 0 105 5 0 0 0 0 0\ncpu2 9 0 0 0 0 0 0 0 0 0\n'
    source = tmp_path / 'stat'
    source.write_text(before)
    monkeypatch.setattr(mmrest_cli.time, 'sleep', lambda _: source.write_text(after))
    assert mmrest_cli.measure_load({0, 1}, source=source) == 1.0  # one of the two was busy; cpu2 is not ours
    assert mmrest_cli.measure_load({0, 1}, source=tmp_path / 'none') is None


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason='one core: threads wait for nobody')
def test_tool_beside_busy_processes_says_what_it_does(tmp_path):
    unset = (*mmrest_cli.WAITING, 'OMP_NUM_THREADS')
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    busy = [subprocess.Popen([sys.executable, '-c', 'while True: pass']) for _ in os.sched_getaffinity(0)]
    try:
        command = [sys.executable, REPO / 'tools/get_flops.py', '--backbone', 'ResT', '--arch', 'lite']
        text = run_process(command, tmp_path, environment)
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert 'nothing to do: OMP_WAIT_POLICY=PASSIVE' in text and 'ResT' in text


@pytest.mark.parametrize('argument, prepared', [('-h', 0), ('--help', 0), ('config.py', 1)])
def test_help_is_shown_without_a_look_at_the_machine(monkeypatch, argument, prepared):
    calls = []
    monkeypatch.setattr(sys, 'argv', ['tool.py', argument])
    monkeypatch.setattr(mmrest_cli, 'prepare_process', calls.append)
    monkeypatch.setattr(mmrest_cli.importlib, 'import_module', lambda name: types.SimpleNamespace(main=lambda: None))
    with warnings.catch_warnings():
        mmrest_cli.run_tool('train')
    assert len(calls) == prepared


@pytest.mark.parametrize('options, shown', [([], 0), (['always'], 1)])
def test_warning_of_pkg_resources_is_shown_on_request_alone(monkeypatch, options, shown):
    monkeypatch.setattr(sys, 'argv', ['tool.py', '--help'])
    monkeypatch.setattr(sys, 'warnoptions', options)
    importing = types.SimpleNamespace(main=lambda: warnings.warn('pkg_resources is deprecated.', stacklevel=1))
    monkeypatch.setattr(mmrest_cli.importlib, 'import_module', lambda name: importing)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        mmrest_cli.run_tool('train')
    assert len(caught) == shown


def test_reader_that_ends_early_causes_no_traceback():
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, 'w') as closed:
        command = [sys.executable, 'mmrest_cli.py', 'configs', '--list']
        result = subprocess.run(command, cwd=REPO, stdout=closed, stderr=subprocess.PIPE, text=True)
    assert (result.returncode, result.stderr) == (1, '')


def test_broken_pipe_between_processes_is_not_hidden(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, 'stdout', (tmp_path / 'out').open('w'))
    with pytest.raises(BrokenPipeError, match='worker'), mmrest_cli.end_with_the_reader():
        raise BrokenPipeError('worker')
