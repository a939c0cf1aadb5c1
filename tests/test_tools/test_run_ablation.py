"""The tool that trains ablations: what it repeats, and the table it prints."""

import importlib.util
import json
import sys

import pytest
from conftest import REPO


@pytest.fixture
def tool(monkeypatch):
    """tools/run_ablation.py as a module, whose trainings only write the log of one."""
    spec = importlib.util.spec_from_file_location('run_ablation', REPO / 'tools/run_ablation.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    started = []

    def train(args, variant, seed):
        started.append((variant, seed))
        log = module.run_dir(args.work_dir, variant, seed) / '20260101_000000/vis_data/scalars.json'
        log.parent.mkdir(parents=True, exist_ok=True)
        value = 0.5 + 0.1 * seed - 0.2 * (variant != 'default')
        log.write_text(json.dumps({'step': module.last, args.metric: value}) + '\n')

    monkeypatch.setattr(module, 'train', train)
    module.started, module.last = started, 3
    return module


def test_run_ablation_again_skips_finished_trainings(tool, tmp_path, monkeypatch, capsys):
    pytest.importorskip('mmdet')

    def run(*args):
        monkeypatch.setattr(
            sys,
            'argv',
            ['run_ablation.py', '--work-dir', str(tmp_path), '--variants', 'default', 'position=none', *args],
        )
        tool.main()
        return capsys.readouterr().out

    assert '| `position=none` | 0.300 |  | 0.300, not trained, not trained |' in run('--limit', '2')
    assert tool.started == [('default', 0), ('position=none', 0)]
    out = run()
    assert len(tool.started) == 6 == len(set(tool.started))
    assert '| `default` | 0.600 | 0.100 | 0.500, 0.600, 0.700 |' in out
    assert json.loads((tmp_path / 'results.json').read_text())['results']['position=none']['2'] == pytest.approx(0.5)
    monkeypatch.setattr(sys, 'argv', ['run_ablation.py', '--work-dir', str(tmp_path), '--variants', 'without IN'])
    with pytest.raises(SystemExit):
        tool.main()
    assert 'is no variant' in capsys.readouterr().err


def run_tool(tool, monkeypatch, *args):
    monkeypatch.setattr(sys, 'argv', ['run_ablation.py', '--variants', 'default', '--seeds', '0', *map(str, args)])
    tool.main()


def test_run_ablation_iteration_config_is_finished_at_max_iters(tool, tmp_path, monkeypatch, capsys):
    pytest.importorskip('mmseg')
    args = ('--config', REPO / 'configs/upernet_rest_lite_shapes.py', '--metric', 'mIoU', '--work-dir', tmp_path)
    for tool.last, shown in ((1500, 'not trained'), (2000, '0.500')):
        run_tool(tool, monkeypatch, *args)
        assert f'| {shown} |' in capsys.readouterr().out
    run_tool(tool, monkeypatch, *args)
    assert len(tool.started) == 2


@pytest.mark.parametrize(
    'args, message',
    [
        (['--limit', '-1'], '--limit must be 0 or more'),
        (['--cfg-options', 'train_cfg=None'], 'has no train_cfg with max_epochs or max_iters'),
        (['--cfg-options', 'default_hooks.logger.log_metric_by_epoch=False'], 'log_metric_by_epoch=True'),
    ],
)
def test_run_ablation_mistaken_arguments_are_one_message(tool, tmp_path, monkeypatch, capsys, args, message):
    pytest.importorskip('mmdet')
    with pytest.raises(SystemExit) as exit_status:
        run_tool(tool, monkeypatch, '--work-dir', tmp_path, *args)
    assert exit_status.value.code == 2 and message in capsys.readouterr().err
    assert not tool.started and not any(tmp_path.iterdir())
