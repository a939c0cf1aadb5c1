"""Comparison of a checkpoint with the config that resumes it."""

from __future__ import annotations

import logging
import math
import zipfile
from typing import Any, Iterator

from mmengine.config import Config
from mmengine.hooks import EMAHook
from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner

from ..checkpoints import compare_state_dict, load_file, unwrap_state_dict
from ..checkpoints.loading import inner_model
from .errors import RunFinished, UsageError
from .saved_config import read_saved_config
from .validation.signatures import find_class

# Settings of parameter groups that many optimizers share or that depend on the version of torch.
SHARED_SETTINGS = {
    'params',
    'param_names',
    'foreach',
    'maximize',
    'capturable',
    'differentiable',
    'fused',
    'amsgrad',
    'decoupled_weight_decay',
    'initial_lr',
    'initial_weight_decay',
    'initial_momentum',
    'lr_scale',
    'lr_mult',
    'decay_mult',
}


def check_unfinished(cfg: Config, path: str, meta: dict) -> None:
    """Check that a checkpoint has not reached the end of training.

    Args:
        cfg (Config): Full config.
        path (str): Path of the checkpoint, for the message.
        meta (dict): ``meta`` of the checkpoint, with ``epoch`` and ``iter``.

    Raises:
        RunFinished: There is nothing left to train.
    """
    kind, loop = loop_class(cfg.get('train_cfg'), cfg.get('default_scope')), cfg.get('train_cfg') or {}
    for base, key, done, unit in (
        (EpochBasedTrainLoop, 'max_epochs', meta['epoch'], 'epochs'),
        (IterBasedTrainLoop, 'max_iters', meta['iter'], 'iterations'),
    ):
        total = loop.get(key)
        if kind and issubclass(kind, base) and isinstance(total, (int, float)) and done >= total:
            state = (
                f'The run is finished: {path} has {done:,} of {total:,} {unit}'
                if done == total
                else f'There is nothing left to train: {path} has {done:,} {unit}, and train_cfg.{key} is {total:,}'
            )
            raise RunFinished(
                f'{state}. To continue training, raise train_cfg.{key} (--cfg-options train_cfg.{key}={int(done * 2)}).'
            )


def loop_class(loop: Any, scope: str | None) -> type | None:
    """Return the class of a training loop config; None if it is unknown."""
    if not isinstance(loop, dict):
        return None
    if 'type' not in loop:
        return EpochBasedTrainLoop if loop.get('by_epoch') else IterBasedTrainLoop
    try:
        kind = find_class(LOOPS, loop['type'], scope)
    except ImportError:
        return None
    return kind if isinstance(kind, type) else None


def check_resumable(runner: Runner, path: str) -> None:
    """Check that the model, optimizer, schedules and loop of a runner match the checkpoint to resume.

    Settings that the resumed run keeps from the checkpoint are logged as a warning.

    Args:
        runner (Runner): Runner with its optimizer built.
        path (str): Valid local checkpoint.

    Raises:
        UsageError: They do not match; the message names the difference.
    """
    # The device 'meta' loads shapes without values.
    checkpoint = load_file(path, 'meta' if zipfile.is_zipfile(path) else 'cpu')
    before = read_saved_config(checkpoint['meta'])
    kept: list[str] = []
    difference = (
        _compare_loops(runner, before)
        or _compare_models(runner, checkpoint, path)
        or _compare_optimizers(runner, checkpoint, before, kept)
        or _compare_schedules(runner, checkpoint, before, kept)
        or _compare_averages(runner, checkpoint)
    )
    if difference:
        raise UsageError(
            f'{path} cannot be resumed with this config: {difference}. Resume with the config of that '
            f'run, or start a new training from its weights: --cfg-options load_from={path}, without --resume.'
        )
    if kept:
        runner.logger.log(logging.WARNING, f'A resumed run keeps the settings of its checkpoint: {"; ".join(kept)}.')


def _compare_loops(runner: Runner, before: dict) -> str:
    scope = runner.cfg.get('default_scope')
    old, new = loop_class(before.get('train_cfg'), scope), loop_class(runner.cfg.get('train_cfg'), scope)
    for one, other in ((EpochBasedTrainLoop, IterBasedTrainLoop), (IterBasedTrainLoop, EpochBasedTrainLoop)):
        if old and new and issubclass(old, one) and issubclass(new, other):
            return f'its loop was {old.__name__}, and train_cfg has {new.__name__}'
    return ''


def _compare_models(runner: Runner, checkpoint: dict, path: str) -> str:
    model = inner_model(runner.model)
    report = compare_state_dict(model, unwrap_state_dict(checkpoint, path), path)
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    missing = [key for key in report.missing if key in parameters]
    for keys, text in ((report.mismatched, 'other shapes in the model'), (missing, 'parameters that it does not have')):
        if keys:
            more = f' and {len(keys) - 2:,} more' if len(keys) > 2 else ''
            return f'there are {text}: {", ".join(keys[:2])}{more}'
    return ''


def _compare_optimizers(runner: Runner, checkpoint: dict, before: dict, kept: list[str]) -> str:
    if 'optimizer' not in checkpoint:  # saving it was turned off
        return ''
    for name, wrapper, state in _wrappers(runner.optim_wrapper, checkpoint['optimizer']):
        if not isinstance(state, dict) or 'param_groups' not in state:
            return f'it has no state of the optimizer {name}'
        settings = before.get('optim_wrapper') or {}
        settings = settings.get(name, {}) if name else settings
        difference = _compare_groups(wrapper.optimizer, state['param_groups'], settings, runner.cfg, kept)
        if difference:
            return difference
    return ''


def _wrappers(wrapper: Any, state: dict) -> Iterator[tuple[str, Any, Any]]:
    """Yield name, optimizer wrapper and saved state of each optimizer."""
    if hasattr(wrapper, 'optimizer'):
        yield '', wrapper, state
    else:
        for name, one in wrapper.items():
            yield name, one, state.get(name)


def _compare_groups(optimizer: Any, old: list[dict], settings: dict, cfg: Config, kept: list[str]) -> str:
    new, name = optimizer.param_groups, type(optimizer).__name__
    saved = (settings.get('optimizer') or {}).get('type')
    saved = saved.rsplit('.', 1)[-1] if isinstance(saved, str) else ''
    if saved and saved != name:
        return f'it was trained with {saved}, and optim_wrapper.optimizer is {name}'
    sizes = [[len(group['params']) for group in groups] for groups in (old, new)]
    if len(old) != len(new):
        return (
            f'its optimizer has {len(old)} parameter group{"s" * (len(old) != 1)}, and this one {len(new)} '
            '(optim_wrapper.paramwise_cfg, or other parts of the model)'
        )
    if sizes[0] != sizes[1]:
        return (
            f'its optimizer has {sum(sizes[0])} parameters in its groups, and this one {sum(sizes[1])} (other '
            'parts of the model, or optim_wrapper.paramwise_cfg)'
        )
    others = set() if saved or not old else (set(new[0]) ^ set(old[0])) - SHARED_SETTINGS
    if others:  # the checkpoint has no config
        return (
            f'its optimizer was not {name}, the optim_wrapper.optimizer of the config: '
            f'{", ".join(sorted(others))} belong to only one of them'
        )
    text = str(cfg.get('param_scheduler'))
    for key in ('lr', 'weight_decay'):
        if key not in new[0] or key == 'lr' and 'OneCycle' in text:  # OneCycleLR sets one rate for all groups
            continue
        values = [[_number(group.get(f'initial_{key}', group.get(key))) for group in groups] for groups in (old, new)]
        tops = [max(each, default=0) for each in values]
        shares = [[value / top if top else 0.0 for value in each] for each, top in zip(values, tops)]
        if not all(math.isclose(one, other, rel_tol=1e-3, abs_tol=1e-9) for one, other in zip(*shares)):
            return (
                f'its parameter groups have other multiples of {key} than this config gives them '
                '(optim_wrapper.paramwise_cfg)'
            )
        scaled = key == 'lr' and (cfg.get('auto_scale_lr') or {}).get('enable')
        if not scaled and not math.isclose(*tops, rel_tol=1e-6):
            kept.append(f'{key} {tops[0]:g} (the config has {tops[1]:g})')
    return ''


def _number(value: Any) -> float:
    value = value.item() if hasattr(value, 'item') and getattr(value, 'device', None) != 'meta' else value
    return float(value) if isinstance(value, (int, float)) else 0.0


def _compare_schedules(runner: Runner, checkpoint: dict, before: dict, kept: list[str]) -> str:
    """Compare number and types of the schedules; their numbers are taken from the checkpoint."""
    new, saved = runner.cfg.get('param_scheduler'), checkpoint.get('param_schedulers')
    hook = (runner.cfg.get('default_hooks') or {}).get('checkpoint') or {}
    if (
        isinstance(new, dict)
        and 'type' not in new
        or isinstance(saved, dict)
        or not hook.get('save_param_scheduler', True)
    ):  # several optimizers, or saving is turned off
        return ''
    new = [new] if isinstance(new, dict) else list(new or [])
    old = before.get('param_scheduler')
    old = [old] if isinstance(old, dict) else list(old or [])
    names = [[_kind(each) for each in schedules] for schedules in (old, new)]
    count = len(saved or [])
    if len(old) == count and names[0] != names[1]:
        return f'its param_scheduler was {_listed(names[0])}, and that of the config is {_listed(names[1])}'
    if count != len(new):
        return f'it has the state of {count} param_scheduler{"s" * (count != 1)}, and the config has {len(new)}'
    for number, (was, now) in enumerate(zip(old, new)) if len(old) == count else ():
        kept += [
            f'param_scheduler.{number}.{key} {was.get(key)!r} (the config has {now.get(key)!r})'
            for key in sorted({*was, *now} - {'type', '_scope_', 'convert_to_iter_based'})
            if not _same(was.get(key), now.get(key))
        ]
    return ''


def _same(one: Any, other: Any) -> bool:
    as_list = [list(each) if isinstance(each, tuple) else each for each in (one, other)]
    return as_list[0] == as_list[1]


def _kind(schedule: Any) -> str:
    kind = schedule.get('type') if isinstance(schedule, dict) else None
    return (kind if isinstance(kind, str) else getattr(kind, '__name__', '')).rsplit('.', 1)[-1]


def _listed(names: list[str]) -> str:
    return ', '.join(names) or 'none'


def _compare_averages(runner: Runner, checkpoint: dict) -> str:
    """Compare the use of EMA: without an EMAHook, training would continue with the averaged weights."""
    if 'ema_state_dict' in checkpoint and not any(isinstance(hook, EMAHook) for hook in runner.hooks):
        return 'its weights are averages, kept by an EMAHook, and custom_hooks has none'
    return ''
