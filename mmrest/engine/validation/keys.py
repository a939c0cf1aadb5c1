"""Validation of config keys: unknown and misspelled ones."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, Callable, Iterator

from mmengine.config import Config
from mmengine.dist import init_dist
from mmengine.registry import (
    EVALUATOR,
    HOOKS,
    LOG_PROCESSORS,
    LOOPS,
    METRICS,
    MODELS,
    PARAM_SCHEDULERS,
    VISBACKENDS,
    VISUALIZERS,
    Registry,
)
from mmengine.runner import Runner
from mmengine.utils.dl_utils import set_multi_processing
from torch.distributed import init_process_group
from torch.utils.data import DataLoader

from .optimizers import find_ignored_settings, find_optimizer_errors
from .signatures import (
    closest_match,
    describe_ignored,
    describe_unknown,
    describe_unregistered,
    find_class,
    get_parameters,
    listed,
)

# Default hooks of mmengine's runner, and 'visualization', which all OpenMMLab configs add.
DEFAULT_HOOKS = ('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint', 'visualization')
# Arguments that the runner passes to a loop.
LOOP_ARGUMENTS = ('runner', 'dataloader', 'evaluator')
# Keys of a data loader that mmengine reads itself.
LOADER_KEYS = ('sampler', 'batch_sampler', 'num_batch_per_epoch', 'disable_subprocess_warning')
ENV_CFG_KEYS = {'cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'}
AUTO_SCALE_LR_KEYS = {'enable', 'base_batch_size'}
# Top-level variables that are read in addition to the arguments of the runner.
OTHER_NAMES = (
    'custom_imports',
    'model_wrapper_cfg',
    'runner_type',
    'find_unused_parameters',
    'tta_model',
    'tta_pipeline',
)
# Variables of OpenMMLab configs that look similar to these names.
VARIABLES = ('train_pipeline', 'val_pipeline', 'test_pipeline', 'train_dataset', 'val_dataset', 'test_dataset')


@dataclass
class _Part:
    """Config of an object to build.

    Args:
        path (str): Dotted path.
        config (dict): Config to validate.
        registry (Registry): Registry of its ``type``.
        default (str): Default ``type``; empty if required.
        extra (tuple[str]): Additional keys that are read elsewhere.
        given (tuple[str]): Arguments of the class that mmengine passes.
    """

    path: str
    config: dict
    registry: Registry
    default: str = ''
    extra: tuple[str, ...] = ()
    given: tuple[str, ...] = ()


def find_unknown_keys(cfg: Config, phases: tuple[str, ...]) -> list[str]:
    """Return an error for each unknown key and each unregistered type in the parts of a config."""
    scope = cfg.get('default_scope')
    errors = []
    if 'train' in phases:
        errors += _find_loop_errors(cfg.get('train_cfg'))
        errors += find_optimizer_errors(cfg.get('optim_wrapper'), scope)
    errors += _find_hook_errors(cfg.get('default_hooks'))
    for part in [*_loops(cfg, phases), *_hooks(cfg), *_others(cfg, phases)]:
        errors += _check_part(part, scope)
    for phase in phases:
        errors += _check_call(f'{phase}_dataloader', cfg.get(f'{phase}_dataloader'), DataLoader, LOADER_KEYS)
    return errors + _find_environment_errors(cfg)


def find_misspelled_names(cfg: Config) -> list[str]:
    """Return a warning for each top-level variable that looks like a misspelled name."""
    known = {*inspect.signature(Runner.__init__).parameters, *OTHER_NAMES} - {'self', 'cfg'}
    warnings = []
    for name, value in cfg.items():
        own = name in known or name in VARIABLES or not isinstance(value, (dict, list))
        close = None if own else closest_match(name, known, cutoff=0.88)
        if close:
            note = f'; {close} of this config is used' if close in cfg else ''
            warnings.append(f'Nothing reads {name} of the config{note}. Did you mean {close}?')
    return warnings


def find_ignored_keys(cfg: Config, phases: tuple[str, ...]) -> list[str]:
    """Return a warning for each key that nothing reads and that does not look misspelled."""
    warnings = [
        *describe_ignored('env_cfg', cfg.get('env_cfg'), ENV_CFG_KEYS, 'mmengine'),
        *describe_ignored('auto_scale_lr', cfg.get('auto_scale_lr'), AUTO_SCALE_LR_KEYS, 'mmengine'),
    ]
    if 'train' in phases:
        warnings += find_ignored_settings(cfg.get('optim_wrapper'), cfg.get('default_scope'))
    return warnings


def _find_loop_errors(loop: Any) -> list[str]:
    """Return an error if the type of the training loop is missing or given twice."""
    if not isinstance(loop, dict):
        return []
    if 'type' in loop and 'by_epoch' in loop:
        return ['train_cfg has both type and by_epoch: remove one of them.']
    if 'type' not in loop and 'by_epoch' not in loop:
        misspelled = next((key for key in loop if closest_match(key, ('type', 'by_epoch'))), None)
        note = f' {misspelled} is neither type nor by_epoch.' if misspelled else ''
        return [
            f'train_cfg has no loop type: set train_cfg.type=EpochBasedTrainLoop with max_epochs, or '
            f'IterBasedTrainLoop with max_iters.{note}'
        ]
    return []


def _loops(cfg: Config, phases: tuple[str, ...]) -> Iterator[_Part]:
    for phase in phases:
        loop = cfg.get(f'{phase}_cfg')
        default = {'val': 'ValLoop', 'test': 'TestLoop'}.get(phase, '')
        if phase == 'train' and isinstance(loop, dict) and 'by_epoch' in loop:
            default = 'EpochBasedTrainLoop' if loop['by_epoch'] else 'IterBasedTrainLoop'
        if isinstance(loop, dict) and (default or 'type' in loop):
            yield _Part(f'{phase}_cfg', loop, LOOPS, default, ('by_epoch',) if phase == 'train' else (), LOOP_ARGUMENTS)


def _hooks(cfg: Config) -> Iterator[_Part]:
    hooks = {
        **{f'default_hooks.{name}': hook for name, hook in (cfg.get('default_hooks') or {}).items()},
        **{f'custom_hooks.{number}': hook for number, hook in enumerate(cfg.get('custom_hooks') or [])},
    }
    for path, hook in hooks.items():
        if isinstance(hook, dict):
            yield _Part(path, hook, HOOKS, extra=('priority',))


def _find_hook_errors(hooks: Any) -> list[str]:
    """Return an error for each misspelled name of a default hook."""
    errors = []
    for name in hooks if isinstance(hooks, dict) else ():
        close = closest_match(name, DEFAULT_HOOKS, cutoff=0.8) if name not in DEFAULT_HOOKS else None
        if close and (close not in hooks or not isinstance(hooks[name], dict) or 'type' not in hooks[name]):
            errors.append(
                f'default_hooks.{name} is not a default hook of mmengine, which would run {close} with its default '
                f'settings in addition. Did you mean {close}?'
            )
    return errors


def _others(cfg: Config, phases: tuple[str, ...]) -> Iterator[_Part]:
    """Yield the parameter schedulers, evaluators, log processor and visualizer."""
    schedulers = cfg.get('param_scheduler') if 'train' in phases else None
    for path, scheduler in _numbered('param_scheduler', schedulers):
        yield _Part(path, scheduler, PARAM_SCHEDULERS, extra=('convert_to_iter_based',), given=('optimizer',))
    for phase in phases:
        for path, evaluator in _numbered(f'{phase}_evaluator', cfg.get(f'{phase}_evaluator')):
            is_wrapper = 'metrics' in evaluator and _is_evaluator(evaluator.get('type', 'Evaluator'), cfg)
            yield _Part(path, evaluator, EVALUATOR if is_wrapper else METRICS, 'Evaluator' if is_wrapper else '')
    if isinstance(cfg.get('log_processor'), dict):
        yield _Part('log_processor', cfg.log_processor, LOG_PROCESSORS, 'LogProcessor')
    visualizer = cfg.get('visualizer')
    if isinstance(visualizer, dict):
        yield _Part('visualizer', visualizer, VISUALIZERS, 'Visualizer', ('name', 'save_dir'))
        for path, backend in _numbered('visualizer.vis_backends', visualizer.get('vis_backends')):
            yield _Part(path, backend, VISBACKENDS, extra=('name',))


def _is_evaluator(kind: Any, cfg: Config) -> bool:
    """Return True for a wrapper of metrics, False for a metric whose key ``metric`` is misspelled."""
    try:
        return find_class(EVALUATOR, kind, cfg.get('default_scope')) is not None
    except ImportError:  # reported by the runner
        return True


def _numbered(path: str, value: Any) -> Iterator[tuple[str, dict]]:
    """Yield a config, or each config in a list or of one of several optimizers, with its dotted path."""
    is_named = isinstance(value, dict) and 'type' not in value and value
    if is_named and all(isinstance(each, (dict, list)) for each in value.values()):
        for name, each in value.items():  # several optimizers
            if name != 'metrics':
                yield from _numbered(f'{path}.{name}', each)
        return
    yield from listed(path, value)


def _check_part(part: _Part, scope: str | None) -> list[str]:
    kind = part.config.get('type', part.default)
    if not kind:
        return [f'{part.path} has no type.']
    try:
        found = find_class(part.registry, kind, scope)
        if found is None:
            return [describe_unregistered(f'{part.path}.type', kind, part.registry, scope)]
        names, has_kwargs = get_parameters(found)
        if has_kwargs and getattr(found, '__name__', '') == 'EMAHook':  # passes them on to the averaged model
            average = find_class(MODELS, part.config.get('ema_type', 'ExponentialMovingAverage'), scope)
            more, has_kwargs = get_parameters(average) if average else (set(), True)
            names |= more
    except ImportError:  # reported by the runner
        return []
    return describe_unknown(part.path, part.config, names - set(part.given), has_kwargs, found.__name__, part.extra)


def _check_call(
    path: str, config: Any, function: Callable, extra: tuple[str, ...] = (), given: tuple[str, ...] = ()
) -> list[str]:
    """Return an error for each key of a config that a function of mmengine or torch does not accept."""
    if not isinstance(config, dict):
        return []
    names, has_kwargs = get_parameters(function)
    return describe_unknown(path, config, names - {'self', *given}, has_kwargs, function.__name__, extra)


def _find_environment_errors(cfg: Config) -> list[str]:
    env_cfg = cfg.get('env_cfg')
    errors = []
    if isinstance(env_cfg, dict):
        errors += describe_unknown('env_cfg', env_cfg, ENV_CFG_KEYS, True, 'mmengine')
        errors += _check_call('env_cfg.mp_cfg', env_cfg.get('mp_cfg'), set_multi_processing, given=('distributed',))
        names = get_parameters(init_dist)[0] | get_parameters(init_process_group)[0] | {'port'}
        dist_cfg = env_cfg.get('dist_cfg')
        if isinstance(dist_cfg, dict):
            errors += describe_unknown('env_cfg.dist_cfg', dist_cfg, names - {'launcher'}, False, 'init_dist')
    errors += _check_call('randomness', cfg.get('randomness'), Runner.set_randomness)
    if isinstance(cfg.get('auto_scale_lr'), dict):
        errors += describe_unknown('auto_scale_lr', cfg.auto_scale_lr, AUTO_SCALE_LR_KEYS, True, 'mmengine')
    return errors
