"""Keys of optimizers, their constructors and schedules."""

import pytest
from mmengine.config import ConfigDict
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS

from mmrest.engine import UsageError
from mmrest.engine.validation import validate
from mmrest.engine.validation.keys import find_ignored_keys

PHASES = ('train', 'val', 'test')


def test_validate_misspelled_schedule_keys_raise(framework_config, framework):
    cfg = framework_config(
        framework,
        dict(param_scheduler=[dict(type='LinearLR', start_facto=0.1), dict(type='MultiStepLR', milestone=[3])]),
    )
    with pytest.raises(UsageError) as error:
        validate(cfg)
    assert str(error.value).splitlines() == [
        'param_scheduler.0.start_facto is not a setting of LinearLR. Did you mean start_factor?',
        'param_scheduler.1.milestone is not a setting of MultiStepLR. Did you mean milestones?',
    ]
    validate(cfg, ('test',))


@pytest.mark.parametrize(
    'wrapper, message',
    [
        (
            dict(type='OptimWrapper', optimzer=dict(type='SGD', lr=0.1)),
            'has no optimizer. Is optim_wrapper.optimzer misspelled',
        ),
        (dict(optimizer=dict(lr=0.1)), 'optim_wrapper.optimizer has no type'),
        (
            dict(optimizer=dict(type='AdamWW', lr=0.1)),
            'optim_wrapper.optimizer.type is .AdamWW., .* Did you mean AdamW',
        ),
        (dict(type='AmpOptimWraper', optimizer=dict(type='SGD', lr=0.1)), 'Did you mean AmpOptimWrapper'),
        (dict(type='AmpOptimWrapper', loss_scal=1, optimizer=dict(type='SGD', lr=0.1)), 'Did you mean loss_scale'),
        (
            dict(optimizer=dict(type='SGD', lr=0.1), paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mul=0.1)))),
            'optim_wrapper.paramwise_cfg.custom_keys.backbone.lr_mul is .*Did you mean lr_mult',
        ),
        (
            dict(
                optimizer=dict(type='SGD', lr=0.1),
                constructor='LayerDecayOptimWrapperConstructor',
                paramwise_cfg=dict(layer_decay_rat=0.9),
            ),
            'Did you mean layer_decay_rate',
        ),
    ],
)
def test_validate_wrong_optimizer_raises(framework_config, framework, wrapper, message):
    cfg = framework_config(framework)
    cfg.optim_wrapper = ConfigDict(wrapper)
    with pytest.raises(UsageError, match=message):
        validate(cfg)


def test_validate_own_constructor_takes_any_key(framework_config):
    class Own(DefaultOptimWrapperConstructor):
        pass

    cfg = framework_config('mmdet')
    cfg.optim_wrapper.update(constructor='OwnConstructor', paramwise_cfg=dict(anything=1))
    OPTIM_WRAPPER_CONSTRUCTORS.register_module(module=Own, name='OwnConstructor')
    try:
        assert not find_ignored_keys(cfg, PHASES)
        validate(cfg)
    finally:
        OPTIM_WRAPPER_CONSTRUCTORS.module_dict.pop('OwnConstructor')
