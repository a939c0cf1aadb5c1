"""Mean and standard deviation beside the channels of the backbone."""

import pytest

from mmrest.engine import UsageError
from mmrest.engine.validation import validate


def place(cfg):
    """Return the preprocessor of a config, and the path that messages give it."""
    within = cfg.model.get('data_preprocessor')
    return (within, 'model.data_preprocessor') if within else (cfg.data_preprocessor, 'data_preprocessor')


@pytest.mark.parametrize(
    'mean, std, message',
    [
        ([1.0] * 4, [1.0] * 4, r'\.mean has 4 values and std has 4, and the backbone takes 3 channels'),
        ([1.0] * 2, [1.0] * 3, r'\.mean has 2 values and std has 3, and the backbone takes 3 channels'),
        ([1.0] * 3, [1.0] * 4, r'\.mean has 3 values and std has 4, and the backbone takes 3 channels'),
        ([1.0] * 3, [1.0, 0.0, 1.0], r'\.std contains a 0: \[1.0, 0.0, 1.0\]'),
        ([1.0] * 3, ['a', 1.0, 1.0], r'\.std must be numbers'),
        ([1.0] * 3, None, r'\.mean is set and .*\.std is not'),
        (None, [1.0] * 3, r'\.std is set and .*\.mean is not'),
    ],
)
def test_validate_mean_and_std_that_do_not_fit_raise(framework_config, framework, mean, std, message):
    cfg = framework_config(framework)
    part, path = place(cfg)
    part.update(mean=mean, std=std)
    with pytest.raises(UsageError, match=f'^{path}{message}'):
        validate(cfg)


@pytest.mark.parametrize('mean, std', [([1.0], [2.0]), ([1.0] * 3, [2.0]), (None, None), ([0.0] * 3, [1.0, 2.0, 3.0])])
def test_validate_mean_and_std_that_fit_pass(framework_config, framework, mean, std):
    cfg = framework_config(framework)
    place(cfg)[0].update(mean=mean, std=std)
    validate(cfg)


def test_validate_mean_and_std_follow_in_channels(framework_config, framework):
    """The backbone's in_channels count; mmdet takes as many values as mmengine does."""
    cfg = framework_config(framework, {'model.backbone.in_channels': 4})
    part, path = place(cfg)
    with pytest.raises(UsageError, match=f'^{path}.mean has 3 values and std has 3, and the backbone takes 4 channels'):
        validate(cfg)
    part.update(mean=[1.0] * 4, std=[1.0] * 4)
    if framework == 'mmdet':
        with pytest.raises(UsageError, match='this preprocessor takes 3 values, or 1 for all channels'):
            validate(cfg)
    else:
        validate(cfg)
