"""Validation of image normalization against the input channels of the model."""

from __future__ import annotations

import inspect
import math
from typing import Any, Iterator

from mmengine.config import Config
from mmengine.model import ImgDataPreprocessor
from mmengine.registry import MODELS

from ..devices import nested_dicts
from .signatures import find_class

PAIRS = (('mean', 'std'), ('second_mean', 'second_std'))
IN_CHANNELS = ('in_channels', 'in_chans')


def find_preprocessor_errors(cfg: Config) -> list[str]:
    """Return an error for each invalid mean and std of a data preprocessor."""
    errors = []
    for path, part, channels in _preprocessors(cfg):
        for mean_key, std_key in PAIRS:
            mean, std = part.get(mean_key), part.get(std_key)
            names = f'{path}.{mean_key}', f'{path}.{std_key}'
            if (mean is None) != (std is None):
                given, absent = names if std is None else names[::-1]
                errors.append(f'{given} is set and {absent} is not: set both, or neither.')
            elif isinstance(mean, (list, tuple)) and isinstance(std, (list, tuple)):
                errors += _compare(names, mean, std, channels, _only_gray_or_color(part, cfg.get('default_scope')))
    return errors


def _compare(names: tuple[str, str], mean: Any, std: Any, channels: int | None, gray_or_color: bool) -> list[str]:
    counts = len(mean), len(std)
    for name, values in zip(names, (mean, std)):
        if not all(isinstance(value, (int, float)) and math.isfinite(value) for value in values):
            return [f'{name} must be numbers, got {values!r}.']
    if not all(std):
        return [
            f'{names[1]} contains a 0: {list(std)!r}. Images are divided by these values: set the standard '
            'deviation of each channel, or 1 for no scaling.'
        ]
    fitting = (
        f"{channels} values, one for each channel of the model's input"
        if channels
        else 'as many values as images have channels'
    )
    if channels and any(count not in (1, channels) for count in counts):
        return [
            f'{names[0]} has {counts[0]} value{"s" * (counts[0] != 1)} and {names[1].rsplit(".", 1)[1]} has '
            f'{counts[1]}, and the backbone takes {channels} channel{"s" * (channels != 1)} (in_channels): give '
            f'each {fitting}, or 1 value for all.'
        ]
    if counts[0] != counts[1] and 1 not in counts:
        return [
            f'{names[0]} has {counts[0]} values and {names[1]} has {counts[1]}: give each {fitting}, or 1 value '
            'for all.'
        ]
    if gray_or_color and any(count not in (1, 3) for count in counts):
        return [
            f'{names[0]} has {counts[0]} values and {names[1]} has {counts[1]}; this preprocessor takes 3 values, '
            'or 1 for all channels.'
        ]
    return []


def _preprocessors(cfg: Config) -> Iterator[tuple[str, dict, int | None]]:
    """Yield the data preprocessors of a config with their dotted paths and the input channels of their models."""
    scope = cfg.get('default_scope')
    found = False
    for path, model in _models(cfg.get('model'), 'model'):
        part, place = model.get('data_preprocessor'), f'{path}.data_preprocessor'
        while isinstance(part, dict):  # nested in semi-supervised detectors
            found = True
            yield place, part, _in_channels(model, scope)
            part, place = part.get('data_preprocessor'), f'{place}.data_preprocessor'
    if not found and isinstance(cfg.get('data_preprocessor'), dict) and isinstance(cfg.get('model'), dict):
        yield 'data_preprocessor', cfg.data_preprocessor, _in_channels(cfg.model, scope)


def _models(part: Any, path: str) -> Iterator[tuple[str, dict]]:
    """Yield the models with a data preprocessor in a nested config."""
    if isinstance(part, dict):
        if part.get('data_preprocessor'):
            yield path, part
        for key, value in part.items():
            if key != 'data_preprocessor':
                yield from _models(value, f'{path}.{key}')


def _in_channels(model: dict, scope: str | None) -> int | None:
    """Return the number of input channels of a model; None if unknown."""
    backbones = [part['backbone'] for part in nested_dicts(model) if isinstance(part.get('backbone'), dict)]
    numbers = {_backbone_channels(backbone, scope) for backbone in backbones}
    number = numbers.pop() if len(numbers) == 1 else None
    return number if type(number) is int else None


def _backbone_channels(backbone: dict, scope: str | None) -> Any:
    for key in IN_CHANNELS:
        if key in backbone:
            return backbone[key]
    try:
        kind = find_class(MODELS, backbone.get('type'), scope)
        parameters = inspect.signature(kind).parameters if kind else {}
    except (ImportError, TypeError, ValueError):
        return None
    return next((parameters[key].default for key in IN_CHANNELS if key in parameters), None)


def _only_gray_or_color(part: dict, scope: str | None) -> bool:
    """Return True for preprocessors derived from mmengine's, which requires 1 or 3 values."""
    try:
        kind = find_class(MODELS, part.get('type'), scope)
    except ImportError:
        return False
    return isinstance(kind, type) and issubclass(kind, ImgDataPreprocessor)
