"""The command line of the benchmark: runs, sweeps, refusals."""

import json

import pytest
import torch
from helpers.benchmarks import run_benchmark

from mmrest import ResT
from mmrest.benchmark.models import BenchmarkModel, parse_model
from mmrest.engine import UsageError
from mmrest.ops.processor import current_choices, processor_name


@pytest.fixture(autouse=True)
def quick_peak(monkeypatch):
    """The peak of the machine is measured with small matrices."""
    monkeypatch.setattr('mmrest.benchmark.machine.MAX_SIDE', 256)
    monkeypatch.setattr('mmrest.benchmark.machine.BUDGET', 0)


@pytest.fixture
def nothing_measured(monkeypatch):
    for name in ('compare_times', 'describe_machine', 'operator_shares', 'peak_memory'):
        monkeypatch.setattr(f'mmrest.benchmark.run.{name}', lambda *_, **__: pytest.fail('measured'))


def test_benchmark_run_writes_json_and_plots(tmp_path, capsys):
    rows = run_benchmark(
        'rest-lite:released',
        'rest-lite:chunked,with_cp',
        '--shape',
        32,
        40,
        '--shape',
        33,
        33,
        '--num-rounds',
        2,
        '--no-memory',
        '--out',
        tmp_path / 'new' / 'out.json',
        '--plot',
        tmp_path / 'plot.png',
    )
    stored = json.loads((tmp_path / 'new' / 'out.json').read_text())
    assert stored['threads'] == torch.get_num_threads() and len(stored['rows']) == len(rows) == 8
    assert {(row['mode'], tuple(row['shape'])) for row in rows} == {
        (mode, shape) for mode in ('forward', 'train') for shape in ((32, 40), (33, 33))
    }
    assert [len(row['all_seconds']) for row in rows] == [2] * 8
    assert [row['images/s'] for row in rows] == [1 / row['seconds'] for row in rows]
    assert len(list(tmp_path.glob('plot_*.png'))) == 4
    assert stored['processor'] == processor_name() and stored['choices'] == current_choices()
    for row in rows:
        macs = parse_model(row['model']).count_macs('backbone', tuple(row['shape']), 1)
        passes = 3 if row['mode'] == 'train' else 1
        assert row['GFLOP/s'] == pytest.approx(2 * passes * macs / row['seconds'] / 1e9)
        assert row['share_of_peak'] == row['GFLOP/s'] / stored['peak_gflops']['float32']
    printed = capsys.readouterr().out
    assert printed.startswith(f'{processor_name()}, torch ') and printed.count('peak of matrix products: ') == 1
    assert 'rest-lite:released' in printed and '| GFLOP/s | of peak |' in printed


def test_benchmark_without_times_measures_no_peak(monkeypatch, capsys):
    monkeypatch.setattr('mmrest.benchmark.run.peak_memory', lambda *_, **__: dict(tensor_mb=1.0))
    monkeypatch.setattr('mmrest.benchmark.machine.measure_peak', lambda *_: pytest.fail('measured'))
    (row,) = run_benchmark('rest-lite', '--mode', 'forward', '--num-rounds', 0)
    printed = capsys.readouterr().out
    assert row['MB'] == 1 and 'GFLOP/s' not in row and 'peak' not in printed and processor_name() in printed


@pytest.mark.slow
def test_benchmark_with_compile_measures_the_compiled_model():
    (row,) = run_benchmark(
        'rest-lite', '--compile', '--mode', 'forward', '--shape', 64, 64, '--num-rounds', 1, '--no-memory'
    )
    assert row['compiled'] and row['seconds'] > 0


HALF = ('rest-lite', '--dtype', 'bfloat16', '--mode', 'forward', '--shape', 64, 64, '--num-rounds', 1, '--no-memory')


def test_benchmark_under_autocast_keeps_float32_weights(monkeypatch, capsys):
    kinds = set()

    def forward(self, x):
        kinds.add((x.dtype, next(self.parameters()).dtype, torch.mm(x[0, 0], x[0, 0]).dtype))
        return (x.mean(),)

    monkeypatch.setattr(ResT, 'forward', forward)
    monkeypatch.setattr(BenchmarkModel, 'count_macs', lambda *_: 1)
    (row,) = run_benchmark(*HALF, '--autocast')
    assert kinds == {(torch.float32, torch.float32, torch.bfloat16)} and row['autocast']
    assert ' threads, autocast\n' in capsys.readouterr().out


def test_benchmark_of_a_model_that_does_not_run_in_the_dtype_names_autocast(monkeypatch):
    monkeypatch.setattr(ResT, 'forward', lambda self, x: x.float() @ x)
    monkeypatch.setattr(BenchmarkModel, 'count_macs', lambda *_: 1)
    with pytest.raises(UsageError, match='does not run with weights in bfloat16: .*with --autocast'):
        run_benchmark(*HALF)


def test_benchmark_of_attention_alone_measures_every_model():
    rows = run_benchmark(
        'rest-lite',
        'rest-lite:matmul',
        '--part',
        'attention',
        '--shape',
        64,
        64,
        '--num-rounds',
        1,
        '--no-memory',
        '--dtype',
        'float64',
    )
    assert len(rows) == 4
    assert [row for row in rows if not row['seconds'] > 0] == []


@pytest.mark.slow
@pytest.mark.parametrize('name', ['retinanet', 'mask_rcnn'])
def test_benchmark_of_shapes_config_measures_both_modes(repo, name):
    pytest.importorskip('mmdet')
    pytest.importorskip('mmcv._ext')
    rows = run_benchmark(
        repo / f'configs/{name}_rest_lite_fpn_shapes.py', '--shape', 64, 96, '--num-rounds', 1, '--no-memory'
    )
    assert len(rows) == 2
    assert [row for row in rows if not row['seconds'] > 0] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    'part, options',
    [
        ('backbone', []),
        ('backbone', ['--dtype', 'bfloat16', '--autocast']),
        ('retinanet', []),
        ('retinanet', ['--dtype', 'bfloat16']),
    ],
)
def test_benchmark_of_peers_measures_every_model(part, options):
    pytest.importorskip('mmdet')
    peers = ['resnet-50', 'swin-t', 'pvt-s', 'pvtv2-b2']
    try:
        import mmpretrain.models  # noqa: F401

        peers.append('convnext-t')
    except (ImportError, RuntimeError):  # mmpretrain itself, or torchvision, which it needs
        with pytest.raises(UsageError, match='needs mmpretrain'):
            run_benchmark('convnext-t', '--no-memory')
    words = ('--part', part, *options, '--shape', 64, 96, '--num-rounds', 1, '--no-memory')
    rows = run_benchmark('rest-lite', *peers, *words)
    assert [row for row in rows if not (row['seconds'] > 0 and row['GFLOP/s'] > 0)] == []


@pytest.mark.parametrize(
    'words, message',
    [
        (['rest-tiny'], "Unknown model 'rest-tiny': choose from rest-lite"),
        (['rest-lite:fast'], "unknown option 'fast'"),
        (['swin-t:with_cp'], 'options are for backbones of this package only'),
        (['swin-t', '--part', 'attention', '--no-memory'], 'attention alone'),
        (['rest-lite', '--sweep', '--profile'], 'goes with neither'),
        (['rest-lite', '--part', 'retinanet', '--dtype', 'float64', '--no-memory'], 'in bfloat16 by autocast'),
        (['rest-lite:blas', '--dtype', 'float64'], 'blas would change nothing: it is for float32 and bfloat16'),
        (['rest-lite:released,blas'], 'released has no fast paths, so blas would change nothing'),
        (['rest-lite:blas,onednn'], 'choose one of blas and onednn'),
        (['rest-lite', '--autocast'], 'give --dtype bfloat16 or float16 as well'),
        (['rest-lite', '--part', 'attention', '--dtype', 'bfloat16', '--autocast'], 'attention alone has none'),
        (['rest-lite', '--profile', '--device', 'cuda'], "shares of the CPU's time"),
        (['rest-lite', '--profile', '--num-rounds', '5'], '--profile .*: leave --num-rounds out'),
        (['rest-lite', '--profile', '--memory-limit', '2', '--no-memory'], 'leave --memory-limit and --no-memory out'),
        (['rest-lite', '--device', 'foo'], '--device foo: there is no such device'),
        (['rest-lite', '--device', 'meta'], 'only cpu and cuda'),
        (['rest-lite', '--num-rounds', '0', '--no-memory'], 'nothing to measure'),
        (['rest-lite', '--memory-limit', '0'], 'more than 0'),
        (['rest-lite', '--memory-limit', 'nan'], 'more than 0'),
        (['rest-lite', '--memory-limit', '5', '--no-memory'], 'does not go with --no-memory'),
        (['rest-lite', '--sweep', '--shape', '800', '1344'], '--sweep .*: leave --shape out'),
        (['rest-lite', '--sweep', '--num-rounds', '0', '--no-memory'], 'leave --num-rounds and --no-memory out'),
        (['rest-lite', '--plot', 'x.foo'], '--plot x.foo: give a file that ends in .png'),
        (['rest-lite', '--plot', 'x'], 'ends in .png'),
        (['rest-lite:matmul,chunked'], 'one form at a time: choose one of matmul, chunked'),
        (['rest-lite:released,with_cp,matmul'], 'choose one of released, matmul'),
        (['rest-lite:direct,chunked'], 'choose one of direct, chunked'),
        (['rest-lite', 'rest-lite:with_cp', '--part', 'attention'], 'with_cp would change nothing'),
        (
            ['rest-lite', 'rest-lite:released', '--shape', '64', '64', '--shape', '32', '32'],
            'rest-lite:released, 32x32: .* larger maps',
        ),
        (['a.py:with_cp'], 'options are for backbones of this package only'),
        (['a.py', '--part', 'attention'], 'attention alone'),
    ],
)
def test_benchmark_with_bad_arguments_raises_and_names_them(words, message, nothing_measured):
    with pytest.raises(UsageError, match=message):
        run_benchmark(*words)


@pytest.mark.parametrize(
    'words, message',
    [
        (['--shape', '800'], '--shape: expected 2 arguments'),
        (['--shape', '0', '5'], '--shape: 0 is not an integer of at least 1'),
        (['--shape', '800x1344', '5'], '--shape: 800x1344 is not an integer of at least 1'),
        (['--batch-size', '0'], '--batch-size: 0 is not an integer of at least 1'),
        (['--num-rounds', '-1'], '--num-rounds: -1 is not an integer of at least 0'),
    ],
)
def test_benchmark_with_number_out_of_range_ends_with_status_two(words, message, capsys):
    with pytest.raises(SystemExit, match='2'):
        run_benchmark('rest-lite', *words)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize('option', ['--out', '--plot'])
def test_benchmark_with_unwritable_target_is_refused(tmp_path, option, nothing_measured):
    (tmp_path / 'file').touch()
    (tmp_path / 'folder_2.png').mkdir()
    with pytest.raises(UsageError, match=f'{option} .*not a writable folder'):
        run_benchmark('rest-lite', option, tmp_path / 'file' / 'x.png')
    with pytest.raises(UsageError, match=f'{option} .*is a folder'):
        run_benchmark('rest-lite', option, tmp_path / ('folder_2.png' if option == '--out' else 'folder.png'))


@pytest.mark.parametrize('scope', ['mmseg', 'mmpretrain'])
def test_benchmark_of_config_of_another_library_is_refused(tmp_path, scope, nothing_measured):
    config = tmp_path / 'config.py'
    config.write_text(f'default_scope = {scope!r}\nmodel = dict(type="X")\n')
    with pytest.raises(UsageError, match='only models of configs of mmdet'):
        run_benchmark(config)


def test_benchmark_of_config_measures_the_whole_model(tmp_path, monkeypatch, capsys):
    config = tmp_path / 'config.py'
    config.write_text('default_scope = "mmdet"\nmodel = dict()\n')
    monkeypatch.setattr('mmrest.benchmark.models.BenchmarkModel.build', lambda self, **_: lambda train: None)
    monkeypatch.setattr('mmrest.benchmark.models.BenchmarkModel.count_macs', lambda *_: None)
    monkeypatch.setattr('mmrest.benchmark.models.import_registry', lambda *_: None)
    words = ('--mode', 'forward', '--num-rounds', 1, '--no-memory')
    (row,) = run_benchmark(config, *words)
    assert row['part'] == 'model' and 'GFLOP/s' not in row
    assert '\nmodel, forward' in capsys.readouterr().out
    assert [row['part'] for row in run_benchmark('rest-lite', config, *words)] == ['backbone', 'model']
    assert '\nbackbone and model, forward' in capsys.readouterr().out


@pytest.mark.parametrize(
    'modes, files', [(['train'], ['sweep.png']), (['forward', 'train'], ['sweep_forward.png', 'sweep_train.png'])]
)
def test_benchmark_sweep_plots_each_mode(tmp_path, monkeypatch, modes, files):
    monkeypatch.setattr('mmrest.benchmark.run.peak_memory', lambda *_, **settings: dict(tensor_mb=settings['shape'][0]))
    run_benchmark('rest-lite', '--sweep', '--mode', *modes, '--plot', tmp_path / 'sweep.png')
    assert sorted(path.name for path in tmp_path.iterdir()) == files


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_benchmark_without_a_gpu_refuses_cuda(run, capsys):
    with pytest.raises(SystemExit, match='2'):
        run('benchmark', 'rest-lite', '--device', 'cuda')
    assert 'torch sees no GPU' in capsys.readouterr().err
