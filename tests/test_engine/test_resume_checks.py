"""Settings that a checkpoint cannot be resumed with: optimizer, groups, shapes, schedules; and finished runs."""

import shutil

import pytest
import torch
from mmengine.config import Config

pytest.importorskip('mmdet')

from helpers.small_runs import build, write_config  # noqa: E402

from mmrest.engine import RunFinished, UsageError, exit_on_user_error  # noqa: E402
from mmrest.engine.resume import prepare_resume  # noqa: E402

pytestmark = pytest.mark.usefixtures('own_process_state')


@pytest.fixture(scope='module', params=['epochs', pytest.param('iterations', marks=pytest.mark.slow)])
def stopped(request, tmp_path_factory, repo, shapes):
    """Config, work dir and checkpoint of a run that stopped after its first epoch or fifth iteration."""
    folder = tmp_path_factory.mktemp(request.param)
    whole = folder / 'whole.py'
    path = write_config(folder, request.param, repo, shapes)
    shutil.copy(path, whole)
    runner = build(str(whole), folder / 'run', **SHORT[request.param])
    runner.train()
    name = dict(epochs='epoch_1.pth', iterations='iter_5.pth')[request.param]
    return request.param, path, folder / 'run' / name


SHORT = dict(
    epochs={'train_cfg.max_epochs': 1, 'train_dataloader.dataset.indices': 2}, iterations={'train_cfg.max_iters': 5}
)
HEADS = dict(epochs='model.bbox_head.num_classes', iterations='model.decode_head.num_classes')


def resume(stopped, folder, **options):
    """The run in a work dir of its own, resumed with other settings."""
    kind, path, checkpoint = stopped
    folder.mkdir()
    return build(path, folder, str(checkpoint), check_samples=False, **options)


def optimizer(stopped, **settings):
    """The run's own optimizer wrapper with other settings."""
    cfg = Config.fromfile(stopped[1])
    return dict(cfg.optim_wrapper.to_dict(), **settings)


@pytest.mark.parametrize('name, settings', [('SGD', dict(momentum=0.9)), ('Adam', {})])
def test_resume_with_another_optimizer_raises(stopped, tmp_path, name, settings):
    wrapper = dict(_delete_=True, type='OptimWrapper', optimizer=dict(type=name, lr=1e-3, **settings))
    options = dict(optim_wrapper=wrapper)
    with pytest.raises(UsageError) as error:
        resume(stopped, tmp_path / 'run', **options)
    assert str(error.value).startswith(
        f'{stopped[2]} cannot be resumed with this config: it was trained with AdamW, and optim_wrapper.optimizer is '
        f'{name}. Resume with the config of that run, or start a new training from its weights: --cfg-options '
        f'load_from={stopped[2]}, without --resume.'
    )
    assert not (tmp_path / 'run').exists(), 'neither a config nor logs are left'


@pytest.mark.parametrize(
    'paramwise, difference',
    [
        (dict(custom_keys=dict(backbone=dict(lr_mult=0.1))), 'parameter group'),
        (dict(bias_lr_mult=2.0, norm_decay_mult=0.0), ''),
    ],
)
def test_resume_with_other_parameter_groups_raises(stopped, tmp_path, paramwise, difference):
    options = dict(optim_wrapper=optimizer(stopped, _delete_=True, paramwise_cfg=paramwise))
    with pytest.raises(UsageError, match=f'cannot be resumed with this config: its .*{difference}.*paramwise_cfg'):
        resume(stopped, tmp_path / 'run', **options)


def test_resume_with_other_shapes_raises(stopped, tmp_path):
    with pytest.raises(
        UsageError,
        match=r'there are other shapes in the model: \S+ \(file \(\d+.* and \d+ more|other '
        r'shapes in the model: \S+ \(file',
    ):
        resume(stopped, tmp_path / 'run', **{HEADS[stopped[0]]: 7})


def test_resume_with_other_schedules_raises(stopped, tmp_path):
    for schedules, message in (
        ([dict(type='MultiStepLR', milestones=[3])], 'its param_scheduler was LinearLR, .* config is MultiStepLR'),
        ([], 'its param_scheduler was LinearLR, and that of the config is none'),
    ):
        with pytest.raises(UsageError, match=message):
            resume(stopped, tmp_path / f'run{len(schedules)}', param_scheduler=schedules)


@pytest.mark.parametrize('how', ['as it was', 'mixed precision off', 'averages'])
def test_resume_with_compatible_settings_passes(stopped, tmp_path, how):
    options = {
        'as it was': {},
        'mixed precision off': {'optim_wrapper.type': 'AmpOptimWrapper'},
        'averages': dict(custom_hooks=[dict(type='EMAHook')]),
    }[how]
    resume(stopped, tmp_path / 'run', **options)
    assert (tmp_path / f'run/{stopped[0]}.py').is_file(), 'the config is written once all is well'


def test_resume_with_other_values_logs_what_is_kept(stopped, tmp_path):
    schedules = Config.fromfile(stopped[1]).param_scheduler
    schedules[0].end = 99
    runner = resume(stopped, tmp_path / 'run', **{'optim_wrapper.optimizer.lr': 0.5, 'param_scheduler': schedules})
    log = next((tmp_path / 'run').rglob('*.log')).read_text()
    assert (
        'A resumed run keeps the settings of its checkpoint: lr 0.001 (the config has 0.5); '
        'param_scheduler.0.end 12 (the config has 99)' in log.replace('\n', ' ')
    )
    assert runner.optim_wrapper.param_groups[0]['lr'] == 0.5, 'nothing is loaded yet'


def test_resume_without_saved_config_compares_group_keys(stopped, tmp_path):
    """The keys of its parameter groups tell it from another optimizer."""
    state = torch.load(stopped[2], weights_only=False)
    state['meta'].pop('cfg')
    torch.save(state, tmp_path / stopped[2].name)
    options = dict(optim_wrapper=optimizer(stopped, _delete_=True, optimizer=dict(type='SGD', lr=1e-3, weight_decay=1)))
    with pytest.raises(UsageError, match='its optimizer was not SGD, .*betas.*momentum.* belong to only one of them'):
        resume((*stopped[:2], tmp_path / stopped[2].name), tmp_path / 'run', **options)


def test_resume_averaged_weights_without_ema_hook_raises(stopped, tmp_path):
    state = torch.load(stopped[2], weights_only=False)
    state['ema_state_dict'] = state['state_dict']
    torch.save(state, tmp_path / stopped[2].name)
    with pytest.raises(UsageError, match='its weights are averages, kept by an EMAHook'):
        resume((*stopped[:2], tmp_path / stopped[2].name), tmp_path / 'run')


@pytest.mark.parametrize(
    'train_cfg, meta, message',
    [
        (dict(type='EpochBasedTrainLoop', max_epochs=3), dict(epoch=3, iter=30), 'finished: .* has 3 of 3 epochs. To'),
        (
            dict(by_epoch=True, max_epochs=3),
            dict(epoch=5, iter=30),
            'nothing left .* has 5 epochs, and .*max_epochs is 3',
        ),
        (
            dict(type='IterBasedTrainLoop', max_iters=3000),
            dict(epoch=0, iter=3000),
            'has 3,000 of 3,000 iterations. To',
        ),
        (
            dict(by_epoch=False, max_iters=3000),
            dict(epoch=0, iter=4000),
            'has 4,000 iterations, and .*max_iters is 3,000',
        ),
        (dict(by_epoch=True, max_epochs=3), dict(epoch=2, iter=10**9), None),
        (dict(by_epoch=False, max_iters=3), dict(epoch=9, iter=2), None),
        (dict(type='OwnLoop', max_epochs=3), dict(epoch=9, iter=2), None),
    ],
)
@pytest.mark.parametrize('source', ['auto', 'epoch_1.pth'])
def test_prepare_resume_finished_run_says_so(tmp_path, capsys, train_cfg, meta, message, source):
    torch.save(dict(meta=meta, state_dict={}, message_hub={}, optimizer={}), tmp_path / 'epoch_1.pth')
    cfg = Config(dict(work_dir=str(tmp_path), train_cfg=train_cfg))
    source = source if source == 'auto' else str(tmp_path / source)
    if message is None:
        return prepare_resume(cfg, source)
    with pytest.raises(RunFinished, match=message):
        prepare_resume(cfg, source)
    with exit_on_user_error():  # ends with status 0
        prepare_resume(cfg, source)
    assert capsys.readouterr().out.count('To continue training, raise train_cfg.max_') == 1
