"""The check on a GPU: its dry run on a CPU, what outlasts faults of a part, and what decides."""

import json
import math
import os
import sys
import time
import zipfile

import pytest
import torch
from conftest import REPO, run_process

if not (REPO / '.dev_scripts').is_dir():
    pytest.skip('the scripts for maintainers are not part of this copy', allow_module_level=True)
sys.path.insert(0, str(REPO / '.dev_scripts'))

import gpu_check  # noqa: E402
from gpu_checks import cases, limits, parity, report, speed, supervisor, timing, training, wheels  # noqa: E402
from gpu_checks.results import DEVICE_LOST, FAILED, OK, SKIPPED, Settings, read_results  # noqa: E402

# Runs a part whose cases are known by name, without torch: what each does is what its name says.
WORKER = """
import json, os, signal, sys, time
job = json.loads(sys.argv[1])
path = job['path']
rows = json.load(open(path))['rows'] if os.path.exists(path) else []
def write():
    with open(path + '.new', 'w') as file:
        json.dump(dict(rows=rows, machine=dict(name='a machine')), file)
    os.replace(path + '.new', path)
for name in NAMES:
    if name in [row['case'] for row in rows]:
        continue
    rows.append(dict(case=name, status='running', started=time.time(), limit=LIMIT))
    write()
    if name == 'crashes':
        os.kill(os.getpid(), signal.SIGSEGV)
    if name == 'hangs':
        time.sleep(60)
    rows[-1] = dict(case=name, status='FAILED' if name == 'loses the device' else 'ok', summary='')
    write()
    if name == 'loses the device':
        sys.exit(3)
    if name == 'ends':
        sys.exit('no more of this')
"""


@pytest.fixture
def settings(tmp_path):
    return Settings('cpu', True, False, None, str(tmp_path))


def supervise(tmp_path, monkeypatch, settings, names, limit=30, total=600):
    """Run the first part with a worker of known cases; its results."""
    worker = WORKER.replace('NAMES', repr(names)).replace('LIMIT', repr(limit))
    (tmp_path / 'fake_worker.py').write_text(worker)
    monkeypatch.setattr(supervisor, 'DRY_TOTAL', total)
    monkeypatch.setattr(supervisor, 'START_SECONDS', 0)
    out = tmp_path / 'out.json'
    one = supervisor.Supervisor(settings, out, time.time(), worker='fake_worker', dry=True)
    state = one.run([1])
    assert json.loads(out.read_text()) == state
    assert state['machine'] == dict(name='a machine')
    return {row['case']: (row['status'], row['summary']) for row in state['parts']['1']['rows']}


@pytest.mark.parametrize('parts', ['4', pytest.param('1,2,3,4', marks=pytest.mark.slow)])
def test_dry_run_on_a_cpu_comes_to_its_end(parts, tmp_path):
    if '3' in parts:
        pytest.importorskip('mmdet')
        pytest.importorskip('mmseg')
    out = tmp_path / 'results.json'
    script = REPO / '.dev_scripts' / 'gpu_check.py'
    options = ['--device', 'cpu', '--dry-run', '--parts', parts, '--out', out]
    printed = run_process([sys.executable, script, *options], tmp_path)
    state = json.loads(out.read_text())
    assert ','.join(sorted(state['parts'])) == parts
    rows = [row for part in state['parts'].values() for row in part['rows']]
    assert rows and {row['status'] for row in rows} <= {OK, SKIPPED}
    reasons = {row['summary'] for row in rows if row['status'] == SKIPPED}
    assert [reason for reason in reasons if 'needs a GPU' not in reason and 'not at hand' not in reason] == []
    assert [row for row in rows if f'| {row["case"]} | {row["status"]} |' not in printed] == []
    assert printed.splitlines()[0] == state['table'][0]
    assert {path.name for path in tmp_path.iterdir()} == {out.name}


def test_cases_after_a_crash_are_run_by_another_process(tmp_path, monkeypatch, settings):
    found = supervise(tmp_path, monkeypatch, settings, ['first', 'crashes', 'loses the device', 'last'])
    assert found == {
        'first': (OK, ''),
        'crashes': (FAILED, 'its process ended by SIGSEGV'),
        'loses the device': (FAILED, ''),
        'last': (OK, ''),
    }


def test_case_that_hangs_is_given_up(tmp_path, monkeypatch, settings):
    found = supervise(tmp_path, monkeypatch, settings, ['hangs', 'last'], limit=0.5)
    assert found['hangs'][0] == FAILED and found['hangs'][1].startswith('given up after')
    assert found['last'] == (OK, '')


def test_part_ends_with_its_budget(tmp_path, monkeypatch, settings):
    monkeypatch.setattr(supervisor, 'MARGIN', 0)
    start = time.time()
    found = supervise(tmp_path, monkeypatch, settings, ['first', 'hangs', 'last'], total=1.5)
    assert time.time() - start < 10
    assert found['hangs'][0] == SKIPPED and found['hangs'][1].startswith('out of time')
    assert 'last' not in found


def test_process_that_ends_between_cases_is_a_failure(tmp_path, monkeypatch, settings):
    found = supervise(tmp_path, monkeypatch, settings, ['ends', 'last'])
    assert found == {'ends': (OK, ''), 'the others': (FAILED, 'no more of this')}


def test_results_are_written_case_by_case(tmp_path, monkeypatch):
    path = tmp_path / 'part.json'
    seen = []

    def look():
        seen.append([row['status'] for row in read_results(path)['rows']])
        return dict(summary='seen')

    def skip():
        raise cases.Skip('no reason')

    def fail():
        raise ValueError('first line\nsecond line')

    found = [
        cases.Case('good', look),
        cases.Case('skipped', skip),
        cases.Case('raises', fail),
        cases.Case('finds', lambda: dict(problems=['one', 'two'])),
        cases.Case('long', look, seconds=1e6),
        cases.Case('last', look),
    ]
    assert cases.run_cases(found, path, time.time() + 100, 'cpu', machine='this') == 0
    content = read_results(path)
    assert content['machine'] == 'this'
    assert [(row['status'], row['summary']) for row in content['rows']] == [
        (OK, 'seen'),
        (SKIPPED, 'no reason'),
        (FAILED, 'ValueError: first line'),
        (FAILED, 'one; two'),
        (SKIPPED, 'out of time'),
        (OK, 'seen'),
    ]
    assert seen == [['running'], [OK, SKIPPED, FAILED, FAILED, SKIPPED, 'running']]
    # Another process runs what is not there yet.
    assert cases.run_cases([*found, cases.Case('new', look)], path, time.time() + 100, 'cpu') == 0
    assert [row['case'] for row in read_results(path)['rows']] == [case.name for case in found] + ['new']


def test_process_ends_where_a_fault_has_cost_the_device(tmp_path, monkeypatch):
    monkeypatch.setattr(cases, 'is_lost', lambda device: True)
    found = [cases.Case('bad', lambda: 1 / 0), cases.Case('next', dict)]
    assert cases.run_cases(found, tmp_path / 'part.json', time.time() + 100, 'cpu') == DEVICE_LOST
    assert [row['case'] for row in read_results(tmp_path / 'part.json')['rows']] == ['bad']


@pytest.mark.parametrize('own, passed', [(1.9, True), (2.1, False), (math.nan, False), (math.inf, False)])
def test_rule_allows_twice_the_error_of_the_formula(own, passed):
    assert parity.judge(own, 1.0)['passed'] == passed


def test_wrong_implementation_is_found(monkeypatch, settings):
    def biased(*args, impl, **kwargs):
        return 1.001 * parity.emsa_reference(*args, **kwargs)

    monkeypatch.setattr(parity, 'emsa', biased)
    problems = parity.check_attention(settings, 'auto', 'fp32')['problems']
    assert any(', out: error 1.0e-03' in problem for problem in problems)


def test_implementation_that_raises_fails_with_its_reason(monkeypatch, settings):
    monkeypatch.setattr(parity, 'emsa', lambda *args, impl: torch.zeros(1) @ torch.zeros(2))
    problems = parity.check_attention(settings, 'auto', 'fp32')['problems']
    assert problems and [problem for problem in problems if 'RuntimeError' not in problem] == []


@pytest.mark.parametrize('largest', [1.0, 700.0, 5000.0])
def test_largest_image_is_found_within_the_tolerance(largest):
    found, whole = limits.search(lambda pixels: pixels <= largest, 1.0, 1e6, time.monotonic() + 100)
    assert whole and found <= largest <= (1 + limits.TOLERANCE) * found


def test_search_says_where_it_stopped_early():
    assert limits.search(lambda pixels: True, 1.0, 64.0, time.monotonic() + 100) == (64.0, False)
    assert limits.search(lambda pixels: pixels < 3, 1.0, 64.0, time.monotonic() - 1) == (1.0, False)
    assert limits.search(lambda pixels: False, 1.0, 64.0, time.monotonic() + 100) == (0.0, True)


def test_traffic_counts_what_operators_read_and_write():
    x = torch.ones(10, 4)
    found = timing.count(lambda: torch.empty(7) is (x.t().clone() @ x))
    # The clone reads and writes, the product reads two and writes one: a view moves nothing, nor does new memory.
    assert found == dict(flops=2 * 4 * 10 * 4, bytes=4 * (2 * 40 + 2 * 40 + 16))


def test_ratios_are_medians_over_rounds():
    results = dict(a=dict(all_ms=[2.0, 4.0, 6.0], mb=8.0), b=dict(all_ms=[1.0, 4.0, 2.0], mb=2.0), c=dict(failed='x'))
    timing.add_ratios(results, 'a', ['a', 'b', 'c'])
    assert (results['a']['speedup'], results['b']['speedup'], results['b']['memory']) == (1, 2, 0.25)
    assert results['c'] == dict(failed='x')


def test_group_is_summarized_in_one_line():
    results = dict(
        released=dict(ms=4.0, mb=100.0, speedup=1.0, memory=1.0),
        chunked=dict(ms=2.0, mb=25.0, speedup=2.0, memory=0.25),
        sdpa=dict(failed='out of memory'),
    )
    assert speed.summarize(results) == 'released 4 ms 100 MB, chunked 2 ms 25 MB 2.00x, sdpa out of memory'
    assert speed.summarize(results, times=False) == 'released 4 ms 100 MB, chunked 2.00x/0.25, sdpa out of memory'


def test_step_that_fails_leaves_the_others_their_turns():
    def broken():
        raise RuntimeError('no kernel')

    found = timing.measure({'good': lambda: lambda: None, 'bad': lambda: broken}, 0.1, 'cpu')
    assert found['good']['ms'] >= 0 and found['bad'] == dict(failed='RuntimeError: no kernel')


@pytest.mark.parametrize(
    'losses, falls, problems',
    [([3, 2, 1], True, 0), ([1, 2, 3], True, 1), ([1, 2, 3], False, 0), ([1, math.nan], False, 1)],
)
def test_losses_are_judged(losses, falls, problems):
    assert len(training.judge_losses(losses, falls)) == problems


def test_table_has_shares_of_the_peaks():
    figures = {'stage 1': dict(released=dict(ms=2.0, flops=4e9, bytes=1e9), sdpa=dict(ms=1.0, flops=1e9, bytes=1e9))}
    rows = [
        dict(case='peaks', status=OK, summary='', peaks={'GB/s': 1000.0, 'TFLOP/s bf16': 20.0}),
        dict(case='attention', status=OK, summary='text', figures=figures, precision='bf16'),
    ]
    state = dict(parts={'2': dict(title='speed', rows=rows, seconds=3.0)}, machine=dict(name='a machine'))
    lines = report.render(state).splitlines()
    assert '| 2 | attention | ok | text [stage 1 released 2 TFLOP/s (10%), 500 GB/s (50%)] |' in lines
    assert lines[-1] == 'Part 2, speed: 2 ok; 3 s.'


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--parts', 'one'], 'give numbers'),
        (['--parts', '5'], 'no part 5'),
        (['--quick', '--parts', '3'], 'no part 3 with --quick'),
        (['--device', 'cpu'], '--dry-run'),
        (['--golden', 'nowhere'], 'no folder nowhere'),
    ],
)
def test_mistakes_on_the_command_line_end_in_one_message(arguments, message, capsys):
    with pytest.raises(SystemExit):
        gpu_check.parse(arguments)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize('arguments, parts', [([], [1, 2, 3, 4]), (['--quick'], [1, 2]), (['--parts', '4,1'], [1, 4])])
def test_parts_are_chosen(arguments, parts):
    assert gpu_check.parse(arguments).parts == parts


@pytest.mark.parametrize('given, device', [('cuda', 'cuda:0'), ('cuda:1', 'cuda:1')])
def test_gpu_has_a_number(given, device):
    assert gpu_check.parse(['--device', given]).device == device
    assert torch.cuda._utils._get_device_index(device) == int(device[-1])


def test_budgets_fit_the_limits():
    whole, quick = ([getattr(part, key) for part in supervisor.PARTS.values()] for key in ('budget', 'quick_budget'))
    assert sum(whole) + supervisor.MARGIN <= supervisor.TOTAL <= 6 * 60
    assert sum(filter(None, quick)) + supervisor.MARGIN <= supervisor.QUICK_TOTAL <= 3 * 60


def test_machine_without_a_gpu_is_told_of_the_dry_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(sys, 'path', list(sys.path))
    monkeypatch.setattr(gpu_check, 'prepare', lambda folder, target: None)
    assert gpu_check.main(['--out', str(tmp_path / 'results.json')]) == 2
    assert '--dry-run' in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_missing_library_is_named_with_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr(wheels, 'NEEDED', ('torch', 'no_such_module'))
    monkeypatch.setattr(wheels.lacking, '__defaults__', (wheels.NEEDED,))
    monkeypatch.setattr(wheels, 'FOLDER', tmp_path / 'wheels')
    with pytest.raises(wheels.WheelError, match=r'no_such_module cannot be imported: .*gpu_wheels\.py'):
        gpu_check.prepare(None, tmp_path / 'site')


def test_wheels_are_installed_without_a_network(tmp_path, monkeypatch):
    pytest.importorskip('pip')
    folder, target = tmp_path / 'wheels', tmp_path / 'site'
    folder.mkdir()
    info = 'tiny_part-1.0.dist-info'
    with zipfile.ZipFile(folder / 'tiny_part-1.0-py3-none-any.whl', 'w') as file:
        file.writestr('tiny_part.py', 'VALUE = 3\n')
        # Such a file, which setuptools has, is read in folders of packages alone.
        file.writestr('tiny_part.pth', "import sys; sys.tiny_part = 'read'\n")
        file.writestr(f'{info}/METADATA', 'Metadata-Version: 2.1\nName: tiny-part\nVersion: 1.0\n')
        file.writestr(
            f'{info}/WHEEL', 'Wheel-Version: 1.0\nGenerator: none\nRoot-Is-Purelib: true\nTag: py3-none-any\n'
        )
        file.writestr(f'{info}/RECORD', '')
    monkeypatch.setattr(sys, 'path', list(sys.path))
    monkeypatch.setattr(sys, 'tiny_part', 'unread', raising=False)
    assert wheels.install(folder, target) == 1
    assert wheels.lacking(('tiny_part',)) == [] and sys.tiny_part == 'read'
    code = 'import sys, tiny_part; print(tiny_part.VALUE, sys.tiny_part)'
    environment = {**os.environ, 'PYTHONPATH': str(target)}
    assert run_process([sys.executable, '-c', code], tmp_path, environment).strip() == '3 read'


def test_pins_are_those_of_the_python():
    text = "# a==0\na==1; python_version < '3.12'\na==2; python_version >= '3.12'  # why\nB_c==3\n"
    assert wheels.pins(text, '3.12') == {'a': 'a==2', 'b-c': 'B_c==3'}


def test_wheels_are_those_of_the_constraints(tmp_path):
    pytest.importorskip('packaging')
    text = (REPO / 'constraints.txt').read_text()
    command = wheels.fetch_command(tmp_path, text)
    assert '--no-deps' in command and 'mmdet==3.3.0' in command
    # The machine has these, and they are large.
    assert not {'torch', 'torchvision', 'triton', 'numpy', 'opencv-python', 'scipy', 'matplotlib'} & set(wheels.CARRIED)
    with pytest.raises(wheels.WheelError, match='mmdet'):
        wheels.fetch_command(tmp_path, text.replace('mmdet==', 'other=='))
