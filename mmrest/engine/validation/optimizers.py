"""Keys of an optimizer wrapper's config, of the optimizer in it, and of the settings of single parameters."""

from __future__ import annotations

import inspect
import re
from typing import Any

from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from .signatures import arguments, find_class, ignored, nearest, unknown, unregistered

DEFAULT_CONSTRUCTOR = 'DefaultOptimWrapperConstructor'
FAMILY = ('mmengine', 'mmrest', 'mmdet', 'mmseg', 'mmpretrain')
OF_WRAPPERS = ('optimizer', 'paramwise_cfg', 'constructor')
# What mmengine's constructor reads of each of paramwise_cfg.custom_keys.
OF_CUSTOM_KEYS = {'lr_mult', 'decay_mult'}
# How constructors read paramwise_cfg: .get('x'), .pop('x'), ['x'], 'x' in paramwise_cfg.
_READ = re.compile(
    r"""paramwise_cfg(?:\.(?:get|pop|setdefault)\(|\[)\s*['"](\w+)['"]|"""
    r"""['"](\w+)['"]\s+(?:not\s+)?in\s+(?:self\.)?paramwise_cfg"""
)


def find_optimizer_faults(wrapper: Any, scope: str | None) -> list[str]:
    """Return a sentence for each key of ``optim_wrapper`` that nothing reads, and each type that is not registered.

    Constructors of other kinds than mmengine's read what they like: with one, only the optimizer is looked at.
    """
    if not isinstance(wrapper, dict):
        return []
    path, faults = 'optim_wrapper', []

    def find(place: str, registry: Any, config: dict, default: str) -> Any:
        kind = (
            config.get('type', default)
            if registry is not OPTIM_WRAPPER_CONSTRUCTORS
            else config.get('constructor', default)
        )
        try:
            found = find_class(registry, kind, scope)
        except ImportError:  # the runner says what is missing when it builds it
            return None
        if found is None:
            faults.append(unregistered(place, kind, registry, scope))
        return found

    constructor = find(f'{path}.constructor', OPTIM_WRAPPER_CONSTRUCTORS, wrapper, DEFAULT_CONSTRUCTOR)
    usual = isinstance(constructor, type) and issubclass(constructor, DefaultOptimWrapperConstructor)
    if usual:
        if 'optimizer' not in wrapper:
            near = nearest('optimizer', wrapper)
            return [*faults, f'{path} has no optimizer.' + (f' Is {path}.{near} meant to be it?' if near else '')]
        kind = find(f'{path}.type', OPTIM_WRAPPERS, wrapper, 'OptimWrapper')
        if kind:
            faults += unknown(path, wrapper, *arguments(kind), kind.__name__, OF_WRAPPERS)
        faults += _find_paramwise_faults(wrapper.get('paramwise_cfg'), constructor)
    optimizer = wrapper.get('optimizer')
    if isinstance(optimizer, dict):
        if 'type' not in optimizer:
            return [*faults, f'{path}.optimizer has no type, such as AdamW.']
        kind = find(f'{path}.optimizer.type', OPTIMIZERS, optimizer, '')
        if kind:
            names, others = arguments(kind)
            faults += unknown(f'{path}.optimizer', optimizer, names - {'params'}, others, kind.__name__)
    clip = wrapper.get('clip_grad')
    if isinstance(clip, dict) and clip.get('type', 'norm') in ('norm', 'value'):
        function = clip_grad_norm_ if clip.get('type', 'norm') == 'norm' else clip_grad_value_
        names, others = arguments(function)
        faults += unknown(f'{path}.clip_grad', clip, names - {'parameters'}, others, function.__name__)
    return faults


def find_ignored_settings(wrapper: Any, scope: str | None) -> list[str]:
    """Return a sentence for each key of ``paramwise_cfg`` that nothing reads and that does not look misspelled."""
    if not isinstance(wrapper, dict) or not wrapper.get('paramwise_cfg'):
        return []
    try:
        constructor = find_class(OPTIM_WRAPPER_CONSTRUCTORS, wrapper.get('constructor', DEFAULT_CONSTRUCTOR), scope)
    except ImportError:
        return []
    # A constructor of one's own may read keys in ways that its text does not show.
    if getattr(constructor, '__module__', '').split('.')[0] not in FAMILY:
        return []
    return ignored(
        'optim_wrapper.paramwise_cfg', wrapper['paramwise_cfg'], _names_read(constructor), constructor.__name__
    )


def _find_paramwise_faults(paramwise: Any, constructor: type) -> list[str]:
    if not isinstance(paramwise, dict):
        return []
    path, owner = 'optim_wrapper.paramwise_cfg', constructor.__name__
    faults = unknown(path, paramwise, _names_read(constructor), True, owner)
    keys = paramwise.get('custom_keys')
    for key, settings in keys.items() if isinstance(keys, dict) else ():
        if isinstance(settings, dict):  # whose other keys mmengine hands on to the optimizer, which may read them
            faults += unknown(f'{path}.custom_keys.{key}', settings, OF_CUSTOM_KEYS, True, owner)
    return faults


def _names_read(constructor: type) -> set[str]:
    """Return the keys of ``paramwise_cfg`` that the text of a constructor and of its bases reads."""
    names: set[str] = set()
    for base in constructor.__mro__:
        try:
            names |= {first or second for first, second in _READ.findall(inspect.getsource(base))}
        except (OSError, TypeError):  # made without a file
            continue
    return names
