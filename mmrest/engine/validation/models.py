"""Validation of the parts of a model: registered types, their settings, and channels between backbone and heads."""

from __future__ import annotations

import importlib.util
import inspect
from typing import Any, Callable, Iterator, Sequence

from mmengine.config import Config
from mmengine.registry import MODELS

from ...backbones.pyramid import PyramidBackbone, resolve_arch, resolve_out_indices
from .signatures import describe_unknown, describe_unregistered, find_class, get_parameters, listed

# Necks of mmdet and mmseg with one value of in_channels for each output of the backbone, in its order.
NECKS = {
    'CSPNeXtPAFPN',
    'ChannelMapper',
    'FPG',
    'FPN',
    'FPN_CARAFE',
    'HRFPN',
    'MLANeck',
    'MultiLevelNeck',
    'YOLOXPAFPN',
}


def find_model_errors(cfg: Config) -> list[str]:
    """Return an error for each unregistered type and unknown setting, and for channels that do not fit the backbone.

    Types and settings are those of the model, its backbones, necks and heads. Channels are compared after a backbone of
    this package, for the necks in ``NECKS`` and, without a neck, for the heads of mmseg.
    """
    scope = cfg.get('default_scope')
    if not isinstance(cfg.get('model'), dict):
        return []
    errors = []
    for path, part in _parts(cfg.model, 'model'):
        if not _is_registered(part.get('type'), scope):
            errors.append(describe_unregistered(f'{path}.type', part['type'], MODELS, scope))
        else:
            errors += _find_unknown_settings(path, part, _class_of(part, scope))
    return errors or _find_channel_errors(cfg.model, scope)


def _parts(part: dict, path: str) -> Iterator[tuple[str, dict]]:
    """Yield the model and its nested backbones, necks and heads, with their dotted paths."""
    yield path, part
    for key, value in part.items():
        if key in ('backbone', 'neck', 'head') or str(key).endswith('_head'):
            for place, each in listed(f'{path}.{key}', value):
                yield from _parts(each, place)


def _is_registered(kind: Any, scope: str | None) -> bool:
    """Return False for a name that no registry of an installed library has."""
    if not isinstance(kind, str):
        return True
    try:
        if '.' in kind and importlib.util.find_spec(kind.split('.')[0]) is None:
            return True  # of a library that is not installed, which the runner reports
        return find_class(MODELS, kind, scope) is not None
    except ImportError:  # reported by the runner
        return True


def _find_unknown_settings(path: str, part: dict, kind: Callable | None) -> list[str]:
    """Return an error for each setting that a class does not take; with ``**kwargs``, for misspelled ones."""
    if kind is None:
        return []
    names, has_kwargs = get_parameters(kind)
    if isinstance(kind, type):
        # A class can read its **kwargs itself before it passes the rest on.
        has_kwargs = has_kwargs or get_parameters(kind.__init__)[1]
    return describe_unknown(path, part, names, has_kwargs, kind.__name__)


def _find_channel_errors(model: dict, scope: str | None) -> list[str]:
    backbone = model.get('backbone')
    kind = _class_of(backbone, scope)
    if not (isinstance(kind, type) and issubclass(kind, PyramidBackbone) and kind.archs):
        return []
    try:
        dims = resolve_arch(_setting(backbone, kind, 'arch'), kind.archs)['embed_dims']
        indices = resolve_out_indices(_setting(backbone, kind, 'out_indices'), len(dims))
    except ValueError as error:
        return [f'model.backbone: {error}']
    given = [dims[i] for i in indices]
    gives = f'{kind.__name__} gives {given} (out_indices {indices})'
    if model.get('neck'):
        path, neck = next(listed('model.neck', model['neck']), ('', {}))
        return _find_neck_error(path, neck, _class_of(neck, scope), dims, given, gives)
    errors = []
    for key in ('decode_head', 'auxiliary_head'):
        for path, head in listed(f'model.{key}', model.get(key)):
            if 'BaseDecodeHead' in _ancestors(_class_of(head, scope)):
                errors += _find_head_errors(path, head, given, gives)
    return errors


def _setting(config: dict, kind: type, key: str) -> Any:
    """Return a setting of a config, or its default in the class or, behind ``**kwargs``, in a parent."""
    if key in config:
        return config[key]
    signatures = (inspect.signature(base.__init__) for base in kind.__mro__ if '__init__' in vars(base))
    return next((each.parameters[key].default for each in signatures if key in each.parameters), None)


def _class_of(config: Any, scope: str | None) -> Callable | None:
    try:
        return find_class(MODELS, config.get('type'), scope) if isinstance(config, dict) else None
    except ImportError:
        return None


def _ancestors(kind: Any) -> set[str]:
    return {base.__name__ for base in getattr(kind, '__mro__', ())}


def _find_neck_error(
    path: str, neck: dict, kind: Callable | None, dims: Sequence[int], given: list[int], gives: str
) -> list[str]:
    wanted = neck.get('in_channels')
    # Recursive FPN also takes the image.
    if not isinstance(wanted, (list, tuple)) or not NECKS & _ancestors(kind) or 'RFP' in _ancestors(kind):
        return []
    if list(wanted) == given:
        return []
    # Widths double from stage to stage in every named architecture, so that they name the stages.
    stages = [dims.index(width) for width in wanted if dims.count(width) == 1]
    other = ''
    if wanted and len(stages) == len(wanted) and stages == sorted(set(stages)):
        other = f', or model.backbone.out_indices={_compact(stages)}'
    return [f'{path}.in_channels is {list(wanted)}, but {gives}: set {path}.in_channels={_compact(given)}{other}.']


def _find_head_errors(path: str, head: dict, given: list[int], gives: str) -> list[str]:
    """Return the errors of a head that chooses from the outputs of the backbone by ``in_index``."""
    wanted, index = head.get('in_channels'), head.get('in_index', -1)
    is_single = isinstance(wanted, int) and isinstance(index, int)
    if not is_single and not (isinstance(wanted, (list, tuple)) and isinstance(index, (list, tuple))):
        return []
    channels, indices = ([wanted], [index]) if is_single else (list(wanted), list(index))
    is_valid = all(isinstance(i, int) and -len(given) <= i < len(given) for i in indices)
    if not is_valid:
        text = f'is {index}, but {gives}'
        return [f'{path}.in_index {text}: set {path}.in_index to positions from 0 to {len(given) - 1}.']
    fitting = [given[i] for i in indices]
    if channels == fitting:
        return []
    right = str(fitting[0]) if is_single else _compact(fitting)
    return [
        f'{path}.in_channels is {wanted if is_single else channels} with in_index {index}, but {gives}: '
        f'set {path}.in_channels={right}.'
    ]


def _compact(values: list[int]) -> str:
    """Return a list without spaces, as --cfg-options takes it."""
    return f'[{",".join(map(str, values))}]'
