"""Data loaders without worker processes, and settings that need some."""

import pytest

from mmrest.engine import UsageError, load_config
from mmrest.engine.validation import validate, workers

PHASES = ('train', 'val', 'test')


@pytest.mark.parametrize('phase', PHASES)
@pytest.mark.parametrize(
    'key, value, unused',
    [
        ('persistent_workers', True, 'False'),
        ('prefetch_factor', 4, 'None'),
        ('multiprocessing_context', 'fork', 'None'),
        ('timeout', 30, '0'),
    ],
)
def test_validate_setting_without_workers_raises(framework_config, framework, phase, key, value, unused):
    name = f'{phase}_dataloader'
    cfg = framework_config(
        framework, {f'{name}.num_workers': 0, f'{name}.persistent_workers': False, f'{name}.{key}': value}
    )
    with pytest.raises(UsageError) as error:
        validate(cfg, PHASES)
    assert str(error.value) == (
        f'{name}.{key}={value!r} needs worker processes, and {name}.num_workers is 0: set '
        f'{name}.{key}={unused}, or {name}.num_workers=1 or more.'
    )
    validate(framework_config(framework, {f'{name}.num_workers': 1, f'{name}.{key}': value}), PHASES)
    validate(cfg, [other for other in PHASES if other != phase])


@pytest.mark.parametrize('key, value', [('num_workers', -1), ('num_workers', '2x'), ('prefetch_factor', 0)])
def test_validate_bad_number_of_workers_raises(framework_config, key, value):
    with pytest.raises(UsageError, match=f'^val_dataloader.{key} must be .* got {value!r}'):
        validate(framework_config('mmseg', {f'val_dataloader.{key}': value}))


@pytest.mark.parametrize('key, near', [('num_worker', 'num_workers'), ('batchsize', 'batch_size')])
def test_validate_misspelled_loader_setting_raises(framework_config, framework, key, near):
    with pytest.raises(
        UsageError, match=f'^train_dataloader.{key} is not a setting of DataLoader. Did you mean {near}?'
    ):
        cfg = framework_config(framework, {f'train_dataloader.{key}': 2})
        cfg.train_dataloader.pop(near)
        validate(cfg)


def test_load_config_option_without_workers_drops_their_settings(repo, monkeypatch):
    """Settings of the config that need workers are dropped, those given as options are kept."""
    pytest.importorskip('mmdet')
    said = []
    monkeypatch.setattr(workers, 'print_log', lambda text, **options: said.append(text))
    path = str(repo / 'configs/retinanet_rest_lite_fpn_shapes.py')
    cfg = load_config(path, {'train_dataloader.num_workers': 0, 'train_dataloader.persistent_workers': True})
    assert cfg.train_dataloader.persistent_workers and not said
    cfg = load_config(path, {'train_dataloader.num_workers': 0})
    assert said == ['Disabled persistent_workers of train_dataloader, since num_workers is 0.']
    assert not cfg.train_dataloader.persistent_workers
    validate(cfg)
