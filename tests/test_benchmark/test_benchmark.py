"""The benchmark: what it compares, how it measures, and what it says to bad input."""

import json
import sys

import pytest
import torch
from conftest import run_process

from mmrest import ResT
from mmrest.benchmark import compare_times, format_table, numerics, peak_memory
from mmrest.benchmark.baselines import BASELINES, Baseline
from mmrest.benchmark.measure import MEGABYTE, _allocated
from mmrest.benchmark.models import AttentionOnly
from mmrest.benchmark.profiling import _kind
from mmrest.benchmark.report import fit_power, fit_quadratic, plot_bars, plot_sweep
from mmrest.benchmark.run import run
from mmrest.benchmark.settings import Settings
from mmrest.commands.benchmark import build_parser
from mmrest.engine import UsageError
from mmrest.utils.figures import FORMATS


def measure(*words):
    return run(Settings(**vars(build_parser().parse_args([str(word) for word in words]))))


@pytest.mark.parametrize('form', BASELINES)
def test_baselines_compute_what_the_backbone_does(tiny, form):
    model, other = (ResT(tiny).double() for _ in range(2))
    other.load_state_dict(model.state_dict())
    baseline = Baseline(other, form)
    x = torch.rand(2, 3, 64, 96, dtype=torch.float64)
    for train in (True, False):
        model.train(train)
        baseline.train(train)
        with torch.set_grad_enabled(train):
            outs, expected = baseline(x), model(x)
        assert all(out.requires_grad == train for out in outs)
        for out, own in zip(outs, expected):
            torch.testing.assert_close(out, own, rtol=0, atol=1e-9)
    assert all(p.requires_grad for p in baseline.parameters())
    sum(out.sum() for out in baseline(x)).backward()


def test_baseline_takes_no_fast_path(tiny, monkeypatch):
    monkeypatch.setattr('mmrest.ops.ffn._by_blocks', lambda *_: pytest.fail('by blocks'))
    with torch.no_grad():
        Baseline(ResT(tiny).eval(), 'released')(torch.rand(1, 3, 64, 64))


def test_attention_alone_has_the_sizes_of_the_backbone(tiny):
    model = AttentionOnly(ResT(tiny), (100, 64), batch=2, baseline=None)
    shapes = [tuple(p.shape) for p in model.stages]
    # 25 x 16 tokens reduced 8 times, then 13 x 8 reduced 4 times: sides are rounded up.
    assert shapes[:2] == [(2, 400, 8), (2, 4 * 2, 16)] and shapes[4:6] == [(2, 104, 16), (2, 4 * 2, 32)]
    assert [setting[:3] for setting in model.settings] == [(1, 1, False), (2, 2, True), (4, 1, True), (8, 1, True)]
    assert len(model.train()()) == 5 and len(model.eval()()) == 1


def test_times_are_taken_in_turn():
    order = []
    steps = [lambda train, name=name: order.append((name, train)) for name in 'AB']
    results = compare_times(steps, train=True, rounds=3)
    assert order == [('A', True), ('B', True)] * 4  # the first round does not count
    assert results[0]['speedup'] == 1 and results[0]['speedup_quartiles'] == (1, 1)
    assert all(len(result['seconds']) == 3 for result in results)
    ratios = [a / b for a, b in zip(results[0]['seconds'], results[1]['seconds'])]
    assert results[1]['speedup'] == sorted(ratios)[1]


def test_allocated_memory_is_the_peak_and_not_the_sum():
    def step(train):
        for _ in range(5):
            torch.empty(10 * MEGABYTE, dtype=torch.uint8).fill_(1)
        kept = torch.zeros(2 * MEGABYTE, dtype=torch.uint8)
        torch.zeros(3 * MEGABYTE, dtype=torch.uint8) + kept[0]

    assert _allocated(step, False) / MEGABYTE == pytest.approx(10, abs=0.1)


@pytest.mark.slow
def test_memory_in_a_process_of_its_own():
    settings = dict(part='backbone', shape=(256, 256), batch=1)
    less, more = (peak_memory('rest-lite' + form, True, **settings) for form in (':with_cp,ffn_recompute', ':released'))
    assert 0 < less['tensor_mb'] < more['tensor_mb']
    assert more['process_mb'] == pytest.approx(more['tensor_mb'], rel=0.3)
    failed = peak_memory('rest-lite:released', True, limit_gb=1.0, **{**settings, 'shape': (1024, 1024)})
    assert failed == dict(failed='out of memory')


def test_a_run_writes_what_it_measured(tmp_path, capsys):
    rows = measure(
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
    assert all(len(row['all_seconds']) == 2 and row['images/s'] == 1 / row['seconds'] for row in rows)
    assert len(list(tmp_path.glob('plot_*.png'))) == 4
    assert 'rest-lite:released' in capsys.readouterr().out


@pytest.mark.slow
def test_compiled():
    (row,) = measure('rest-lite', '--compile', '--mode', 'forward', '--shape', 64, 64, '--num-rounds', 1, '--no-memory')
    assert row['compiled'] and row['seconds'] > 0


def test_attention_alone():
    rows = measure(
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
    assert len(rows) == 4 and all(row['seconds'] > 0 for row in rows)


def test_shares_of_operators(monkeypatch):
    monkeypatch.setattr(sys.modules['mmrest.ops.linear'], 'MIN_PRODUCTS', 0)
    rows = measure('rest-lite:chunked', '--shape', 64, 64, '--profile')
    for row in rows:
        assert sum(row['shares'].values()) == pytest.approx(1)
        assert {
            'matrix products of attention',
            'linear layers',
            'mixing of heads',
            'convolutions',
            'softmax',
            'norms',
        } <= {kind for kind, share in row['shares'].items() if share > 0}


@pytest.mark.parametrize('model', ['rest-lite:chunked', 'rest-lite:direct', 'rest-lite:matmul', 'rest-lite:released'])
@pytest.mark.parametrize('batch', [1, 2])
def test_shares_of_attention_alone(model, batch):
    # Of 5 x 5 tokens at the end, more than heads.
    for row in measure(model, '--part', 'attention', '--shape', 160, 160, '--batch-size', batch, '--profile'):
        assert row['shares']['mixing of heads'] > 0 and 'linear layers' not in row['shares']


def test_heads_that_do_not_mix_have_no_share_of_it():
    for row in measure('restv2-tiny:chunked', '--part', 'attention', '--shape', 160, 160, '--profile'):
        assert {'mixing of heads', 'linear layers'}.isdisjoint(row['shares'])


@pytest.mark.parametrize(
    'name, shapes, kind',
    [
        ('aten::bmm', [[2, 50, 32], [2, 32, 7]], 'matrix products of attention'),
        ('aten::baddbmm_', [[8, 7, 64], [8, 7, 50], [8, 50, 64], [], []], 'matrix products of attention'),
        ('aten::mm', [[8, 8], [8, 300]], 'mixing of heads'),
        ('aten::bmm', [[2, 8, 8], [2, 8, 300], [2, 8, 300]], 'mixing of heads'),
        ('aten::matmul', [[8, 8], [2, 8, 300], [2, 8, 300]], 'mixing of heads'),
        ('aten::bmm', [[1, 8, 300], [1, 300, 8]], 'mixing of heads'),
        ('aten::bmm', [[50, 8, 20], [50, 20, 8]], 'mixing of heads'),
        ('aten::_slow_conv2d_backward', [[2, 8, 9, 9], [2, 8, 9, 9], [8, 8, 1, 1], [], []], 'mixing of heads'),
        ('aten::matmul', [[2, 300, 64], [64, 16]], 'linear layers'),
        ('aten::matmul', [[2, 8, 50, 64], [2, 8, 64, 20]], 'matrix products of attention'),
        (
            'aten::_scaled_dot_product_flash_attention_for_cpu',
            [[1, 8, 9, 9], [1, 8, 9, 9], [1, 8, 9, 9]],
            'matrix products of attention',
        ),
        ('aten::addmm', [[64], [300, 16], [16, 64]], 'linear layers'),
        ('aten::mkldnn_convolution', [[1, 64, 300, 1], [128, 64, 1, 1], [128]], 'linear layers'),
        ('aten::mkldnn_convolution', [[1, 64, 9, 9], [128, 64, 3, 3], []], 'convolutions'),
        ('aten::convolution_backward', [[1, 64, 9, 9], [1, 64, 9, 9], [64, 1, 3, 3]], 'convolutions'),
        ('aten::mkldnn_convolution_backward', [[1, 128, 9, 1], [1, 64, 9, 1], [128, 64, 1, 1]], 'linear layers'),
        ('aten::_softmax_backward_data', [], 'softmax'),
        ('mmrest::emsa_chunked', [], 'others'),
    ],
)
def test_kinds_of_operators(name, shapes, kind):
    assert _kind(name, shapes) == kind


@pytest.mark.slow
@pytest.mark.parametrize('name', ['retinanet', 'mask_rcnn'])
def test_configs_with_classes_and_masks_of_their_own(repo, name):
    pytest.importorskip('mmdet')
    pytest.importorskip('mmcv._ext')
    rows = measure(
        repo / f'configs/{name}_rest_lite_fpn_shapes.py', '--shape', 64, 96, '--num-rounds', 1, '--no-memory'
    )
    assert len(rows) == 2 and all(row['seconds'] > 0 for row in rows)


@pytest.mark.slow
@pytest.mark.parametrize('part', ['backbone', 'retinanet'])
def test_peers(part):
    pytest.importorskip('mmdet')
    peers = ['resnet-50', 'swin-t', 'pvt-s', 'pvtv2-b2']
    try:
        import mmpretrain.models  # noqa: F401

        peers.append('convnext-t')
    except ImportError:  # mmpretrain itself, or torchvision, which it needs
        with pytest.raises(UsageError, match='needs mmpretrain'):
            measure('convnext-t', '--no-memory')
    rows = measure('rest-lite', *peers, '--part', part, '--shape', 64, 96, '--num-rounds', 1, '--no-memory')
    assert all(row['seconds'] > 0 for row in rows)


@pytest.mark.parametrize(
    'words, message',
    [
        (['rest-tiny'], "Unknown model 'rest-tiny': choose from rest-lite"),
        (['rest-lite:fast'], "unknown option 'fast'"),
        (['swin-t:with_cp'], 'options are for backbones of this package only'),
        (['swin-t', '--part', 'attention', '--no-memory'], 'attention alone'),
        (['rest-lite', '--sweep', '--profile'], 'goes with neither'),
        (['rest-lite', '--part', 'retinanet', '--dtype', 'float64', '--no-memory'], 'float32'),
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
def test_bad_input_is_named(words, message, nothing_measured):
    with pytest.raises(UsageError, match=message):
        measure(*words)


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
def test_numbers_out_of_range_end_with_status_two(words, message, capsys):
    with pytest.raises(SystemExit, match='2'):
        measure('rest-lite', *words)
    assert message in capsys.readouterr().err


@pytest.fixture
def nothing_measured(monkeypatch):
    for name in ('compare_times', 'operator_shares', 'peak_memory'):
        monkeypatch.setattr(f'mmrest.benchmark.run.{name}', lambda *_, **__: pytest.fail('measured'))


@pytest.mark.parametrize('option', ['--out', '--plot'])
def test_targets_that_cannot_be_written(tmp_path, option, nothing_measured):
    (tmp_path / 'file').touch()
    (tmp_path / 'folder_2.png').mkdir()
    with pytest.raises(UsageError, match=f'{option} .*not a writable folder'):
        measure('rest-lite', option, tmp_path / 'file' / 'x.png')
    with pytest.raises(UsageError, match=f'{option} .*is a folder'):
        measure('rest-lite', option, tmp_path / ('folder_2.png' if option == '--out' else 'folder.png'))


@pytest.mark.parametrize('scope', ['mmseg', 'mmpretrain'])
def test_configs_of_others_are_refused(tmp_path, scope, nothing_measured):
    config = tmp_path / 'config.py'
    config.write_text(f'default_scope = {scope!r}\nmodel = dict(type="X")\n')
    with pytest.raises(UsageError, match='only models of configs of mmdet'):
        measure(config)


def test_a_config_is_measured_whole(tmp_path, monkeypatch, capsys):
    config = tmp_path / 'config.py'
    config.write_text('default_scope = "mmdet"\nmodel = dict()\n')
    monkeypatch.setattr('mmrest.benchmark.models.BenchmarkModel.build', lambda self, **_: lambda train: None)
    words = ('--mode', 'forward', '--num-rounds', 1, '--no-memory')
    assert measure(config, *words)[0]['part'] == 'model'
    assert '\nmodel, forward' in capsys.readouterr().out
    assert [row['part'] for row in measure('rest-lite', config, *words)] == ['backbone', 'model']
    assert '\nbackbone and model, forward' in capsys.readouterr().out


@pytest.mark.parametrize(
    'modes, files', [(['train'], ['sweep.png']), (['forward', 'train'], ['sweep_forward.png', 'sweep_train.png'])]
)
def test_a_sweep_plots_each_mode(tmp_path, monkeypatch, modes, files):
    monkeypatch.setattr('mmrest.benchmark.run.peak_memory', lambda *_, **settings: dict(tensor_mb=settings['shape'][0]))
    measure('rest-lite', '--sweep', '--mode', *modes, '--plot', tmp_path / 'sweep.png')
    assert sorted(path.name for path in tmp_path.iterdir()) == files


@pytest.mark.parametrize('ending', FORMATS)
def test_pictures_in_all_formats(tmp_path, ending):
    out = plot_bars([dict(model='a', MB=1.0)], ['MB'], 'title', tmp_path / f'bars.{ending}')
    assert out.stat().st_size > 1000


def test_pictures_are_written_whole(tmp_path, monkeypatch):
    (tmp_path / 'bars.png').write_text('old')
    monkeypatch.setattr('mmrest.utils.fileio._write', lambda *_: (_ for _ in ()).throw(OSError(28, 'full')))
    with pytest.raises(OSError):
        plot_bars([dict(model='a', MB=1.0)], ['MB'], 'title', tmp_path / 'bars.png')
    assert [path.read_text() for path in tmp_path.iterdir()] == ['old']


def test_numerics_refuses_arguments(monkeypatch):
    monkeypatch.setattr('mmrest.benchmark.numerics.mean_rms_errors', lambda *_: pytest.fail('measured'))
    monkeypatch.setattr(sys, 'argv', ['numerics', '--nonsense'])
    with pytest.raises(SystemExit, match='2'):
        numerics.main()


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_no_gpu(repo):
    out = run_process([sys.executable, 'tools/benchmark.py', 'rest-lite', '--device', 'cuda'], repo, status=2)
    assert 'torch sees no GPU' in out and 'Traceback' not in out


def test_table_and_plots(tmp_path):
    rows = [dict(model='rest-a', shape=(10, 10), MB=1.0, seconds=123.4), dict(model='b', shape=(10, 10), MB='timeout')]
    table = format_table(rows, ('model', 'MB', 'seconds')).splitlines()
    assert table[2].split('|')[1:4] == [' rest-a ', '       1 ', '     123 '] and 'timeout' in table[3]
    assert plot_bars(rows, ('MB', 'seconds'), 'title', tmp_path / 'a' / 'bars.png').stat().st_size > 1000
    assert plot_sweep(rows, 'title', tmp_path / 'sweep.png').stat().st_size > 1000


def test_fit():
    assert fit_power([(x, 3 * x**2) for x in (1, 2, 5)]) == pytest.approx(2)
    assert fit_quadratic([(x, 4 * x + 3 * x**2) for x in (1, 2, 5)]) == pytest.approx((4, 3))
