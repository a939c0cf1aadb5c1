"""Validation of optimizer wrapper, optimizer and parameter-wise settings."""

from __future__ import annotations

import inspect
import re
from typing import Any

from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS
from torch import nn
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from .signatures import (
    closest_match,
    describe_ignored,
    describe_unknown,
    describe_unregistered,
    find_class,
    get_parameters,
)

DEFAULT_CONSTRUCTOR = 'DefaultOptimWrapperConstructor'
LIBRARIES = ('mmengine', 'mmrest', 'mmdet', 'mmseg', 'mmpretrain')
# Keys of optim_wrapper that mmengine reads itself.
WRAPPER_KEYS = ('optimizer', 'paramwise_cfg', 'constructor')
# Settings of paramwise_cfg.custom_keys that mmengine reads itself.
CUSTOM_KEYS_SETTINGS = {'lr_mult', 'decay_mult'}
# Source code patterns that read paramwise_cfg: .get('x'), .pop('x'), ['x'], 'x' in paramwise_cfg.
_READ = re.compile(
    r"""paramwise_cfg(?:\.(?:get|pop|setdefault)\(|\[)\s*['"](\w+)['"]|"""
    r"""['"](\w+)['"]\s+(?:not\s+)?in\s+(?:self\.)?paramwise_cfg"""
)


def find_optimizer_errors(wrapper: Any, scope: str | None) -> list[str]:
    """Return an error for each unknown key and each unregistered type in ``optim_wrapper``.

    With a constructor that is not derived from mmengine's default one, only the optimizer is validated.
    """
    if not isinstance(wrapper, dict):
        return []
    path, errors = 'optim_wrapper', []

    def find(place: str, registry: Any, config: dict, default: str) -> Any:
        kind = (
            config.get('type', default)
            if registry is not OPTIM_WRAPPER_CONSTRUCTORS
            else config.get('constructor', default)
        )
        try:
            found = find_class(registry, kind, scope)
        except ImportError:  # reported by the runner
            return None
        if found is None:
            errors.append(describe_unregistered(place, kind, registry, scope))
        return found

    constructor = find(f'{path}.constructor', OPTIM_WRAPPER_CONSTRUCTORS, wrapper, DEFAULT_CONSTRUCTOR)
    if isinstance(constructor, type) and issubclass(constructor, DefaultOptimWrapperConstructor):
        if 'optimizer' not in wrapper:
            close = closest_match('optimizer', wrapper)
            return [*errors, f'{path} has no optimizer.' + (f' Is {path}.{close} misspelled?' if close else '')]
        kind = find(f'{path}.type', OPTIM_WRAPPERS, wrapper, 'OptimWrapper')
        if kind:
            errors += describe_unknown(path, wrapper, *get_parameters(kind), kind.__name__, WRAPPER_KEYS)
        errors += _find_paramwise_errors(wrapper.get('paramwise_cfg'), constructor)
    optimizer = wrapper.get('optimizer')
    if isinstance(optimizer, dict):
        if 'type' not in optimizer:
            return [*errors, f'{path}.optimizer has no type, such as AdamW.']
        kind = find(f'{path}.optimizer.type', OPTIMIZERS, optimizer, '')
        if kind:
            names, has_kwargs = get_parameters(kind)
            errors += describe_unknown(f'{path}.optimizer', optimizer, names - {'params'}, has_kwargs, kind.__name__)
    clip = wrapper.get('clip_grad')
    if isinstance(clip, dict) and clip.get('type', 'norm') in ('norm', 'value'):
        function = clip_grad_norm_ if clip.get('type', 'norm') == 'norm' else clip_grad_value_
        names, has_kwargs = get_parameters(function)
        errors += describe_unknown(f'{path}.clip_grad', clip, names - {'parameters'}, has_kwargs, function.__name__)
    return errors


def find_unmatched_keys(wrapper: Any, model: nn.Module) -> list[str]:
    """Return the ``custom_keys`` that match no parameter of a model.

    mmengine applies the settings of a key to all parameters whose names contain it.

    Args:
        wrapper (dict): Config ``optim_wrapper``.
        model (nn.Module): Model to optimize.
    """
    paramwise = wrapper.get('paramwise_cfg') if isinstance(wrapper, dict) else None
    keys = paramwise.get('custom_keys') if isinstance(paramwise, dict) else None
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    return [key for key in keys or () if not any(key in name for name in names)]


def find_ignored_settings(wrapper: Any, scope: str | None) -> list[str]:
    """Return a warning for each key of ``paramwise_cfg`` that nothing reads and that does not look misspelled."""
    if not isinstance(wrapper, dict) or not wrapper.get('paramwise_cfg'):
        return []
    try:
        constructor = find_class(OPTIM_WRAPPER_CONSTRUCTORS, wrapper.get('constructor', DEFAULT_CONSTRUCTOR), scope)
    except ImportError:
        return []
    # Custom constructors may read keys in ways that are not visible in their source code.
    if getattr(constructor, '__module__', '').split('.')[0] not in LIBRARIES:
        return []
    return describe_ignored(
        'optim_wrapper.paramwise_cfg', wrapper['paramwise_cfg'], _names_read(constructor), constructor.__name__
    )


def _find_paramwise_errors(paramwise: Any, constructor: type) -> list[str]:
    if not isinstance(paramwise, dict):
        return []
    path, owner = 'optim_wrapper.paramwise_cfg', constructor.__name__
    errors = describe_unknown(path, paramwise, _names_read(constructor), True, owner)
    keys = paramwise.get('custom_keys')
    for key, settings in keys.items() if isinstance(keys, dict) else ():
        if isinstance(settings, dict):  # other settings are passed to the optimizer
            errors += describe_unknown(f'{path}.custom_keys.{key}', settings, CUSTOM_KEYS_SETTINGS, True, owner)
    return errors


def _names_read(constructor: type) -> set[str]:
    """Return the keys of ``paramwise_cfg`` that the source code of a constructor and its base classes reads."""
    names: set[str] = set()
    for base in constructor.__mro__:
        try:
            names |= {first or second for first, second in _READ.findall(inspect.getsource(base))}
        except (OSError, TypeError):  # no source file
            continue
    return names
