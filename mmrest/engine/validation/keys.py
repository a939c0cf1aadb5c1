"""Keys of a config that nothing reads, most often typing errors."""

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

from .optimizers import find_ignored_settings, find_optimizer_faults
from .signatures import arguments, find_class, ignored, nearest, unknown, unregistered

# Hooks that mmengine's runner has without being told, and one that every config of the family adds.
DEFAULT_HOOKS = ('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint', 'visualization')
# What mmengine gives a loop, and a config does not.
GIVEN_TO_LOOPS = ('runner', 'dataloader', 'evaluator')
# What mmengine takes out of a data loader's config before torch's DataLoader gets the rest.
OF_LOADERS = ('sampler', 'batch_sampler', 'num_batch_per_epoch', 'disable_subprocess_warning')
ENVIRONMENT = {'cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'}
SCALING = {'enable', 'base_batch_size'}
# Top-level names that this package or mmengine's runner reads beside the arguments of the runner.
OTHER_NAMES = (
    'custom_imports',
    'model_wrapper_cfg',
    'runner_type',
    'find_unused_parameters',
    'tta_model',
    'tta_pipeline',
)
# Variables that configs of the family set for themselves and that look like such names.
VARIABLES = ('train_pipeline', 'val_pipeline', 'test_pipeline', 'train_dataset', 'val_dataset', 'test_dataset')


@dataclass
class _Part:
    """A part of a config with the class that it is for.

    Args:
        path (str): Dotted.
        config (dict): Its keys are looked at.
        registry (Registry): Of the class that ``type`` names.
        default (str): What it is without a ``type``; '' where it has to have one.
        extra (tuple[str]): Keys that others than the class read.
        given (tuple[str]): Arguments of the class that a config does not set.
    """

    path: str
    config: dict
    registry: Registry
    default: str = ''
    extra: tuple[str, ...] = ()
    given: tuple[str, ...] = ()


def find_unknown_keys(cfg: Config, phases: tuple[str, ...]) -> list[str]:
    """Return a sentence for each key of a config's parts that nothing reads, and each type that is not registered."""
    scope = cfg.get('default_scope')
    faults = []
    if 'train' in phases:
        faults += _find_loop_faults(cfg.get('train_cfg'))
        faults += find_optimizer_faults(cfg.get('optim_wrapper'), scope)
    faults += _find_hook_faults(cfg.get('default_hooks'))
    for part in [*_loops(cfg, phases), *_hooks(cfg), *_others(cfg, phases)]:
        faults += _check_part(part, scope)
    for phase in phases:
        faults += _check_call(f'{phase}_dataloader', cfg.get(f'{phase}_dataloader'), DataLoader, OF_LOADERS)
    return faults + _find_environment_faults(cfg)


def find_near_names(cfg: Config) -> list[str]:
    """Return a sentence for each top-level name that looks like a misspelled one of those that a runner reads."""
    known = {*inspect.signature(Runner.__init__).parameters, *OTHER_NAMES} - {'self', 'cfg'}
    warnings = []
    for name, value in cfg.items():
        own = name in known or name in VARIABLES or not isinstance(value, (dict, list))
        near = None if own else nearest(name, known, cutoff=0.88)
        if near:
            beside = f'; {near} of this config counts' if near in cfg else ''
            warnings.append(f'Nothing reads {name} of the config{beside}. Did you mean {near}?')
    return warnings


def find_ignored_keys(cfg: Config, phases: tuple[str, ...]) -> list[str]:
    """Return a sentence for each key that nothing reads, and that may be meant for something else."""
    warnings = [
        *ignored('env_cfg', cfg.get('env_cfg'), ENVIRONMENT, 'mmengine'),
        *ignored('auto_scale_lr', cfg.get('auto_scale_lr'), SCALING, 'mmengine'),
    ]
    if 'train' in phases:
        warnings += find_ignored_settings(cfg.get('optim_wrapper'), cfg.get('default_scope'))
    return warnings


def _find_loop_faults(loop: Any) -> list[str]:
    """Return a sentence if a config of a training loop does not say which kind it is."""
    if not isinstance(loop, dict):
        return []
    if 'type' in loop and 'by_epoch' in loop:
        return ['train_cfg has both type and by_epoch: take one of them out.']
    if 'type' not in loop and 'by_epoch' not in loop:
        near = next((key for key in loop if nearest(key, ('type', 'by_epoch'))), None)
        said = f' {near} is none of these.' if near else ''
        return [
            f'train_cfg does not say which loop to use: set train_cfg.type=EpochBasedTrainLoop with max_epochs, or '
            f'IterBasedTrainLoop with max_iters.{said}'
        ]
    return []


def _loops(cfg: Config, phases: tuple[str, ...]) -> Iterator[_Part]:
    for phase in phases:
        loop = cfg.get(f'{phase}_cfg')
        default = {'val': 'ValLoop', 'test': 'TestLoop'}.get(phase, '')
        if phase == 'train' and isinstance(loop, dict) and 'by_epoch' in loop:
            default = 'EpochBasedTrainLoop' if loop['by_epoch'] else 'IterBasedTrainLoop'
        if isinstance(loop, dict) and (default or 'type' in loop):
            yield _Part(f'{phase}_cfg', loop, LOOPS, default, ('by_epoch',) if phase == 'train' else (), GIVEN_TO_LOOPS)


def _hooks(cfg: Config) -> Iterator[_Part]:
    hooks = {
        **{f'default_hooks.{name}': hook for name, hook in (cfg.get('default_hooks') or {}).items()},
        **{f'custom_hooks.{number}': hook for number, hook in enumerate(cfg.get('custom_hooks') or [])},
    }
    for path, hook in hooks.items():
        if isinstance(hook, dict):
            yield _Part(path, hook, HOOKS, extra=('priority',))


def _find_hook_faults(hooks: Any) -> list[str]:
    """Return a sentence for each name among the default hooks that is almost that of one which is not there."""
    faults = []
    for name in hooks if isinstance(hooks, dict) else ():
        near = nearest(name, DEFAULT_HOOKS, cutoff=0.8) if name not in DEFAULT_HOOKS else None
        if near and (near not in hooks or not isinstance(hooks[name], dict) or 'type' not in hooks[name]):
            faults.append(
                f'default_hooks.{name} is no hook that mmengine has by default, which would be run with its '
                f'own settings beside it. Did you mean {near}?'
            )
    return faults


def _others(cfg: Config, phases: tuple[str, ...]) -> Iterator[_Part]:
    """Yield schedulers, evaluators, and what is for the log."""
    schedulers = cfg.get('param_scheduler') if 'train' in phases else None
    for path, scheduler in _numbered('param_scheduler', schedulers):
        yield _Part(path, scheduler, PARAM_SCHEDULERS, extra=('convert_to_iter_based',), given=('optimizer',))
    for phase in phases:
        for path, evaluator in _numbered(f'{phase}_evaluator', cfg.get(f'{phase}_evaluator')):
            together = 'metrics' in evaluator and _is_evaluator(evaluator.get('type', 'Evaluator'), cfg)
            yield _Part(path, evaluator, EVALUATOR if together else METRICS, 'Evaluator' if together else '')
    if isinstance(cfg.get('log_processor'), dict):
        yield _Part('log_processor', cfg.log_processor, LOG_PROCESSORS, 'LogProcessor')
    visualizer = cfg.get('visualizer')
    if isinstance(visualizer, dict):
        yield _Part('visualizer', visualizer, VISUALIZERS, 'Visualizer', ('name', 'save_dir'))
        for path, backend in _numbered('visualizer.vis_backends', visualizer.get('vis_backends')):
            yield _Part(path, backend, VISBACKENDS, extra=('name',))


def _is_evaluator(kind: Any, cfg: Config) -> bool:
    """Tell a wrapper around metrics from a metric whose key ``metric`` is misspelled."""
    try:
        return find_class(EVALUATOR, kind, cfg.get('default_scope')) is not None
    except ImportError:  # the runner says what is missing when it builds it
        return True


def _numbered(path: str, value: Any) -> Iterator[tuple[str, dict]]:
    """Yield a config, or those in a list of them, with paths."""
    if isinstance(value, dict):
        if 'type' not in value and value and all(isinstance(each, (dict, list)) for each in value.values()):
            for name, each in value.items():  # for several optimizers
                if name != 'metrics':
                    yield from _numbered(f'{path}.{name}', each)
            return
        yield path, value
    for number, each in enumerate(value) if isinstance(value, (list, tuple)) else ():
        if isinstance(each, dict):
            yield f'{path}.{number}', each


def _check_part(part: _Part, scope: str | None) -> list[str]:
    kind = part.config.get('type', part.default)
    if not kind:
        return [f'{part.path} has no type, and so says nothing about what to build.']
    try:
        found = find_class(part.registry, kind, scope)
        if found is None:
            return [unregistered(f'{part.path}.type', kind, part.registry, scope)]
        names, others = arguments(found)
        if others and getattr(found, '__name__', '') == 'EMAHook':
            average = find_class(MODELS, part.config.get('ema_type', 'ExponentialMovingAverage'), scope)
            more, others = arguments(average) if average else (set(), True)
            names |= more
    except ImportError:  # the runner says what is missing when it builds the part
        return []
    return unknown(part.path, part.config, names - set(part.given), others, found.__name__, part.extra)


def _check_call(
    path: str, config: Any, function: Callable, extra: tuple[str, ...] = (), given: tuple[str, ...] = ()
) -> list[str]:
    """Return a sentence for each key that a function of mmengine or torch would be called with and does not take."""
    if not isinstance(config, dict):
        return []
    names, others = arguments(function)
    return unknown(path, config, names - {'self', *given}, others, function.__name__, extra)


def _find_environment_faults(cfg: Config) -> list[str]:
    environment = cfg.get('env_cfg')
    faults = []
    if isinstance(environment, dict):
        faults += unknown('env_cfg', environment, ENVIRONMENT, True, 'mmengine')
        faults += _check_call('env_cfg.mp_cfg', environment.get('mp_cfg'), set_multi_processing, given=('distributed',))
        names = arguments(init_dist)[0] | arguments(init_process_group)[0] | {'port'}
        if isinstance(environment.get('dist_cfg'), dict):
            faults += unknown('env_cfg.dist_cfg', environment['dist_cfg'], names - {'launcher'}, False, 'init_dist')
    faults += _check_call('randomness', cfg.get('randomness'), Runner.set_randomness)
    if isinstance(cfg.get('auto_scale_lr'), dict):
        faults += unknown('auto_scale_lr', cfg.auto_scale_lr, SCALING, True, 'mmengine')
    return faults
