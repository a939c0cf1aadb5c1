"""Keys that nothing reads, in every part of a config that mmengine or torch builds from."""

import pytest
from mmengine.config import ConfigDict

from mmrest.engine import UsageError
from mmrest.engine import validation as validation_package
from mmrest.engine.validation import validate
from mmrest.engine.validation.keys import find_misspelled_names

PHASES = ('train', 'val', 'test')
# Part, misspelled key, and what it is meant to be.
MISSPELLED = [
    ('val_cfg', 'fp_16', 'fp16'),
    ('test_cfg', 'fp_16', 'fp16'),
    ('env_cfg', 'cudnn_benchmarck', 'cudnn_benchmark'),
    ('env_cfg.mp_cfg', 'mp_start_metod', 'mp_start_method'),
    ('env_cfg.dist_cfg', 'backnd', 'backend'),
    ('default_hooks.checkpoint', 'intervall', 'interval'),
    ('default_hooks.checkpoint', 'max_keep_ckpt', 'max_keep_ckpts'),
    ('default_hooks.logger', 'intervl', 'interval'),
    ('default_hooks.timer', 'interval', None),
    ('optim_wrapper', 'clip_gard', 'clip_grad'),
    ('optim_wrapper', 'paramwise', 'paramwise_cfg'),
    ('optim_wrapper.optimizer', 'weight_deacy', 'weight_decay'),
    ('optim_wrapper.clip_grad', 'max_norms', 'max_norm'),
    ('optim_wrapper.paramwise_cfg', 'norm_decay_mul', 'norm_decay_mult'),
    ('log_processor', 'windows_size', 'window_size'),
    ('randomness', 'sed', 'seed'),
    ('auto_scale_lr', 'base_batchsize', 'base_batch_size'),
    ('val_evaluator', 'ann_fil', None),
]


def add(cfg, path, key, value=1):
    """Set a key in a part of a config, which is made if need be."""
    part = cfg
    for name in path.split('.'):
        if not part.get(name):
            part[name] = {}
        part = part[name]
    part[key] = value


@pytest.mark.parametrize('path, key, near', MISSPELLED)
def test_validate_misspelled_key_suggests_the_right_one(framework_config, framework, path, key, near):
    cfg = framework_config(framework)
    add(cfg, path, key)
    if near and near in cfg.get(path.split('.')[0], {}):
        cfg[path].pop(near)
    with pytest.raises(UsageError) as error:
        validate(cfg, PHASES)
    message = str(error.value)
    assert message.startswith(f'{path}.{key} is not a setting of ') and '\n' not in message
    assert near is None or message.endswith(f'Did you mean {near}?')


@pytest.mark.parametrize(
    'loop, message',
    [
        (
            dict(type='EpochBasedTrainLoop', max_epoch=2),
            'train_cfg.max_epoch is not a setting of EpochBasedTrainLoop. Did you mean max_epochs?',
        ),
        (
            dict(by_epoch=True, max_epochs=2, val_intervall=1),
            'train_cfg.val_intervall is not a setting of EpochBasedTrainLoop. Did you mean val_interval?',
        ),
        (dict(type='IterBasedTrainLoop', max_epochs=2), 'train_cfg.max_epochs is not a setting of IterBasedTrainLoop.'),
        (
            dict(by_epoch=False, max_iter=2),
            'train_cfg.max_iter is not a setting of IterBasedTrainLoop. Did you mean max_iters?',
        ),
        (dict(max_epochs=2), 'train_cfg has no loop type: set train_cfg.type=EpochBasedTrainLoop'),
        (dict(type='EpochBasedTrainLoop', by_epoch=True, max_epochs=2), 'train_cfg has both type and by_epoch'),
        (
            dict(type='EpochBasedTrainLop', max_epochs=2),
            "train_cfg.type is 'EpochBasedTrainLop', which is not registered in "
            'loops. Did you mean EpochBasedTrainLoop?',
        ),
    ],
)
def test_validate_wrong_training_loop_raises(framework_config, framework, loop, message):
    cfg = framework_config(framework)
    cfg.train_cfg = loop
    with pytest.raises(UsageError) as error:
        validate(cfg, PHASES)
    assert str(error.value).startswith(message) and '\n' not in str(error.value)
    validate(cfg, ('test',))


@pytest.mark.parametrize(
    'hooks, message',
    [
        (
            dict(checkpont=dict(type='CheckpointHook')),
            'default_hooks.checkpont is not a default hook .*Did you mean checkpoint',
        ),
        (dict(loggr=dict(type='LoggerHook')), 'default_hooks.loggr is not a default hook .*Did you mean logger'),
        (dict(checkpoint=dict(interval=5)), 'default_hooks.checkpoint has no type'),
        (dict(checkpoint=dict(type='CheckpointHok')), 'is not registered in hooks. Did you mean CheckpointHook'),
    ],
)
def test_validate_wrong_default_hook_raises(framework_config, framework, hooks, message):
    cfg = framework_config(framework)
    cfg.default_hooks = ConfigDict(hooks)
    with pytest.raises(UsageError, match=message):
        validate(cfg, PHASES)


@pytest.mark.parametrize(
    'hook, message',
    [
        (
            dict(type='EMAHook', momentm=0.1),
            r'custom_hooks.0.momentm is not a setting of EMAHook. Did you mean momentum\?',
        ),
        (dict(type='EMAHook', ema_type='ExpMomentumEMA', gama=100), r'custom_hooks.0.gama is .* Did you mean gamma\?'),
        (dict(type='EarlyStoppingHook', moniter='x'), r'custom_hooks.0.moniter .* Did you mean monitor\?'),
        (
            dict(type='EMAHok'),
            r'custom_hooks.0.type is .EMAHok., which is not registered in hooks. Did you mean EMAHook\?',
        ),
    ],
)
def test_validate_wrong_custom_hook_raises(framework_config, hook, message):
    cfg = framework_config('mmdet', dict(custom_hooks=[hook]))
    with pytest.raises(UsageError, match=f'^{message}'):
        validate(cfg, PHASES)


def test_validate_misspelled_metric_key_raises(framework_config):
    cfg = framework_config('mmdet')
    cfg.val_evaluator = dict(type='CocoMetric', ann_file='a.json', metrics='bbox')
    with pytest.raises(
        UsageError, match=r'val_evaluator.metrics is not a setting of CocoMetric. Did you mean metric\?'
    ):
        validate(cfg, PHASES)


def test_validate_known_keys_pass(framework_config):
    """Keys that a hook hands on, priorities, and those that mmengine itself takes out."""
    cfg = framework_config(
        'mmdet',
        dict(
            custom_hooks=[
                dict(
                    type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.1, gamma=100, priority=49, update_buffers=True
                )
            ]
        ),
    )
    cfg.optim_wrapper.paramwise_cfg = dict(
        norm_decay_mult=0.0, custom_keys=dict(backbone=dict(lr_mult=0.1, decay_mult=0.5, lars_exclude=True))
    )
    cfg.param_scheduler = [
        dict(type='CosineAnnealingLR', T_max=3, convert_to_iter_based=True),
        dict(type='CosineAnnealingParamScheduler', param_name='weight_decay', T_max=3),
    ]
    cfg.default_hooks.timer = None
    cfg.default_hooks.second = dict(type='CheckpointHook', interval=7)
    validate(cfg, PHASES)


@pytest.mark.parametrize(
    'path, key', [('env_cfg', 'anything'), ('auto_scale_lr', 'note'), ('optim_wrapper.paramwise_cfg', '_delete')]
)
def test_validate_ignored_key_warns(framework_config, framework, monkeypatch, path, key):
    said = []
    monkeypatch.setattr(validation_package, 'print_log', lambda text, **options: said.append(text))
    cfg = framework_config(framework)
    add(cfg, path, key)
    validate(cfg)
    assert len(said) == 1 and said[0].startswith(f'Nothing reads {path}.{key}; ')


@pytest.mark.parametrize(
    'name, near',
    [
        ('optim_wraper', 'optim_wrapper'),
        ('param_schedular', 'param_scheduler'),
        ('custom_hook', 'custom_hooks'),
        ('train_dataloder', 'train_dataloader'),
    ],
)
@pytest.mark.parametrize('there', [True, False])
def test_find_misspelled_names_misspelled_variable_is_found(framework_config, framework, name, near, there):
    cfg = framework_config(framework)
    cfg[name] = dict(type='A')
    if there:
        cfg[near] = dict(type='B')
    elif near in cfg:
        cfg.pop(near)
    (warning,) = find_misspelled_names(cfg)
    assert warning.startswith(f'Nothing reads {name} of the config') and warning.endswith(f'Did you mean {near}?')
    assert (f'{near} of this config is used' in warning) == there


def test_find_misspelled_names_own_variables_pass(framework_config, framework):
    cfg = framework_config(framework, dict(test_pipeline=[], train_dataset={}, num_classes=3, arch={}, model_name='x'))
    assert not find_misspelled_names(cfg)
