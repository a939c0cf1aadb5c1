"""tools/run_ablation.py: finished trainings are kept, results are tabulated, mistakes are one message."""

import json
import re

import pytest

from mmrest.analysis import ablation_runs


@pytest.fixture
def ablate(run, tmp_path, monkeypatch):
    """Run the tool with trainings that only write a log; ``started`` lists them, ``last`` is the step of the log."""

    def train(config, work_dir, variant, seed, cfg_options):
        call.started.append((variant, seed))
        log = ablation_runs.run_dir(work_dir, variant, seed) / '20260101_000000/vis_data/scalars.json'
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(json.dumps({'step': call.last, call.metric: 0.5 + 0.1 * seed - 0.2 * (variant != 'default')}))

    def call(*args):
        run('run_ablation', '--work-dir', tmp_path / 'runs', *args)

    monkeypatch.setattr(ablation_runs, 'train', train)
    call.started, call.last, call.metric = [], 3, 'coco/bbox_mAP'
    return call


def read_table(capsys) -> str:
    """Return the printed text with single spaces, so that the widths of columns do not matter."""
    return re.sub(' +', ' ', capsys.readouterr().out)


def test_run_ablation_finished_trainings_are_not_repeated(ablate, tmp_path, capsys):
    pytest.importorskip('mmdet')
    variants = '--variants', 'default', 'position=none'
    ablate(*variants, '--num-trainings', 2)
    assert '| `position=none` | 0.300 | | 0.300, not trained, not trained |' in read_table(capsys)
    assert ablate.started == [('default', 0), ('position=none', 0)]
    ablate(*variants)
    assert len(ablate.started) == 6 == len(set(ablate.started))
    assert '| `default` | 0.600 | 0.100 | 0.500, 0.600, 0.700 |' in read_table(capsys)
    results = json.loads((tmp_path / 'runs/results.json').read_text())['results']
    assert results['position=none']['2'] == pytest.approx(0.5)


def test_run_ablation_config_of_iterations_is_finished_at_the_last_one(ablate, repo, capsys):
    pytest.importorskip('mmseg')
    ablate.metric = 'mIoU'
    args = (repo / 'configs/upernet_rest_lite_shapes.py', '--variants', 'default', '--seeds', 0, '--metric', 'mIoU')
    for ablate.last, shown in ((1500, 'not trained'), (2000, '0.500')):
        ablate(*args)
        assert f'| {shown} |' in read_table(capsys)
    ablate(*args)
    assert len(ablate.started) == 2


@pytest.mark.parametrize(
    'args, message',
    [
        (['--num-trainings', '-1'], '--num-trainings: -1 is not an integer of at least 0'),
        (['--variants', 'without IN'], "'without IN' is no variant"),
        (['--cfg-options', 'train_cfg=None'], 'has no train_cfg with max_epochs or max_iters'),
        (['--cfg-options', 'default_hooks.logger.log_metric_by_epoch=False'], 'log_metric_by_epoch=True'),
        (['none.py'], 'There is no config none.py'),
    ],
)
def test_run_ablation_bad_input_is_one_message(ablate, tmp_path, capsys, args, message):
    pytest.importorskip('mmdet')
    with pytest.raises(SystemExit) as exit_status:
        ablate(*args)
    assert exit_status.value.code == 2 and message in capsys.readouterr().err
    assert not ablate.started and not (tmp_path / 'runs').exists()


def test_train_failure_names_the_tool_and_the_way_on(monkeypatch, tmp_path):
    commands = []
    monkeypatch.setattr('subprocess.run', lambda command: commands.append(command) or type('', (), dict(returncode=3)))
    with pytest.raises(ablation_runs.UsageError, match='train.py failed with exit status 3.*goes on from here'):
        ablation_runs.train('config.py', tmp_path, 'position=none', 1, ['data_root=/data/my set'])
    (command,) = commands
    assert command[2:] == [
        'config.py',
        '--work-dir',
        str(tmp_path / 'position-none_seed1'),
        '--resume',
        '--cfg-options',
        'randomness.seed=1',
        'model.backbone.position=none',
        'data_root=/data/my set',
    ]
