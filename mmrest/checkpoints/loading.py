"""Loading of checkpoints into models: unwrapping, key translation and a report of the result."""

from __future__ import annotations

import logging
import re
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from typing import Any, Iterable, Mapping

from mmengine.logging import print_log
from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import Tensor, nn

from .errors import CheckpointError
from .safe import read_checkpoint

# Keys under which checkpoints store their weights, in order of preference.
CONTAINERS = ('state_dict', 'model', 'model_state_dict', 'model_ema')
# A checkpoint that matches a smaller fraction of the model than this is considered to be of another model.
MIN_MATCH = 0.1


@dataclass
class LoadReport:
    """Comparison of a state dict with a model.

    Attributes:
        source (str): Name of the checkpoint.
        matched (list[str]): Keys whose shapes match.
        missing (list[str]): Keys of the model that are not in the state dict.
        unexpected (list[str]): Keys of the state dict that are not in the model.
        mismatched (list[str]): Keys whose shapes differ, with both shapes.
        fraction (float): Fraction of the model's values that are matched.
        depth_mismatches (list[str]): Stages of a backbone with another number of blocks in the state dict.
        width_mismatches (list[str]): Backbones most of whose tensors have other shapes in the state dict.
        missing_modules (list[str]): Child modules of the model with parameters of which none is matched.
        not_loaded (list[str]): Missing or mismatched parameters and running statistics.
        meta (dict): ``meta`` of the checkpoint, in a report of :func:`load_pretrained`.
    """

    source: str
    matched: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)
    fraction: float = 0.0
    depth_mismatches: list[str] = field(default_factory=list)
    width_mismatches: list[str] = field(default_factory=list)
    missing_modules: list[str] = field(default_factory=list)
    not_loaded: list[str] = field(default_factory=list)
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """True if every tensor of the model is matched."""
        return not (self.missing or self.mismatched)

    def __str__(self) -> str:
        lines = [f"{len(self.matched)} tensors, {self.fraction:.1%} of the model's values, loaded from {self.source}"]
        if self.depth_mismatches:
            lines.append(f'  another depth: {", ".join(self.depth_mismatches)}')
        for name in ('missing', 'mismatched', 'unexpected'):
            keys = getattr(self, name)
            if keys:
                lines.append(f'  {len(keys)} {name}: {_shorten(keys)}')
        return '\n'.join(lines)

    def check(self, testing: bool = False) -> LoadReport:
        """Log the report, as a warning if the model is not complete, or raise if the checkpoint does not match.

        Args:
            testing (bool): Require all parameters outside of auxiliary heads; others would stay random.

        Raises:
            CheckpointError: Less than ``MIN_MATCH`` of the model is matched, or its backbone has another width; with
                ``testing``, also if a parameter outside of auxiliary heads is not loaded.
        """
        if self.fraction < MIN_MATCH or self.width_mismatches:
            raise CheckpointError(f'The checkpoint does not fit the model; another architecture? {self}')
        # Auxiliary heads are used in training only, and published files may not contain them.
        modules = [name for name in self.missing_modules if not name.startswith('aux')] if testing else []
        if modules:
            raise CheckpointError(
                f'The checkpoint has nothing for {", ".join(modules)} of the model, which would keep '
                f'random weights; of another model, or of its backbone alone? {self}'
            )
        keys = [key for key in self.not_loaded if not key.startswith('aux')] if testing else []
        if keys:
            raise CheckpointError(
                f'The checkpoint does not fill {_shorten(keys)} of the model, which would keep '
                f'random values. Use the config of the training. {self}'
            )
        is_full = self.complete and not self.depth_mismatches
        print_log(str(self), logger='current', level=logging.INFO if is_full else logging.WARNING)
        return self


def _shape(value: Any) -> tuple[int, ...] | None:
    return tuple(value.shape) if isinstance(value, Tensor) else None


def _shorten(keys: list[str], max_keys: int = 8) -> str:
    more = f', ... ({len(keys) - max_keys} more)' if len(keys) > max_keys else ''
    return ', '.join(keys[:max_keys]) + more


def unwrap_state_dict(checkpoint: Any, source: str = 'the checkpoint') -> OrderedDict[str, Tensor]:
    """Return the state dict of a checkpoint, which is the checkpoint itself or under one of ``CONTAINERS``.

    The prefix ``module.`` of DataParallel is removed.

    Args:
        checkpoint: Content of the file.
        source (str): Name of the checkpoint, for messages.

    Raises:
        CheckpointError: There is no state dict.
    """
    inner = checkpoint
    if isinstance(checkpoint, Mapping):
        inner = next((checkpoint[name] for name in CONTAINERS if isinstance(checkpoint.get(name), Mapping)), checkpoint)
    if not isinstance(inner, Mapping) or not any(isinstance(value, Tensor) for value in inner.values()):
        held = (
            f'the keys {_shorten([str(key) for key in checkpoint])}'
            if isinstance(checkpoint, Mapping)
            else f'a {type(checkpoint).__name__}'
        )
        raise CheckpointError(
            f'{source} holds no state dict, but {held}. Expected one, bare or under {", ".join(CONTAINERS)}.'
        )
    state_dict = OrderedDict((str(key), value) for key, value in inner.items())
    if all(key.startswith('module.') for key in state_dict):
        state_dict = OrderedDict((key[len('module.') :], value) for key, value in state_dict.items())
    if hasattr(inner, '_metadata'):
        state_dict._metadata = inner._metadata  # type: ignore[attr-defined]  # versions of modules
    return state_dict


def translate_backbone_keys(
    keys: Iterable[str], own_keys: Iterable[str], norm_names: Mapping[str, str], anchor: str
) -> dict[str, str]:
    """Map the keys of a published file to the keys of a backbone.

    The prefix of the backbone (``backbone.``, ``backbone.bottom_up.``) is removed, and output norms are renamed. Keys
    of the backbone itself do not change.

    Args:
        keys (Iterable[str]): Keys of the file.
        own_keys (Iterable[str]): Keys of the backbone.
        norm_names (Mapping[str, str]): Published names of output norms, mapped to those of the backbone.
        anchor (str): Key of the backbone that identifies it in the file.

    Returns:
        dict[str, str]: Old to new keys, for those that change.

    Raises:
        CheckpointError: The file contains several backbones.
    """
    keys, own_keys = dict.fromkeys(keys), set(own_keys)  # dict.fromkeys() keeps the order
    wrappers = [] if anchor in keys else [key[: -len(anchor)] for key in keys if key.endswith('.' + anchor)]
    if len(wrappers) > 1:
        raise CheckpointError(
            f'The checkpoint holds several backbones: {", ".join(sorted(wrappers))}. Choose one with '
            "init_cfg=dict(type='Pretrained', checkpoint=..., prefix=...)."
        )
    wrapper = wrappers[0] if wrappers else ''
    renamed = {}
    for key in keys:
        if not key.startswith(wrapper):
            continue
        name, _, leaf = key[len(wrapper) :].rpartition('.')
        new = f'{norm_names.get(name, name)}.{leaf}'
        # Rename a norm only if the backbone has the new name and the file does not.
        if name in norm_names and (new not in own_keys or wrapper + new in keys):
            new = f'{name}.{leaf}'
        if name and new != key:
            renamed[key] = new
    return renamed


def compare_state_dict(
    model: nn.Module, state_dict: Mapping[str, Tensor], source: str = 'the state dict'
) -> LoadReport:
    """Compare a state dict with a model, after translating published keys of its backbone.

    Args:
        model (nn.Module): Model.
        state_dict (Mapping[str, Tensor]): Tensors by key.
        source (str): Name of the checkpoint, for the report.
    """
    state_dict = _translated(model, state_dict)
    report = LoadReport(source)
    matched_values = total = 0
    own = model.state_dict()
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    for key, value in own.items():
        total += value.numel()
        if key in state_dict and _shape(state_dict[key]) == _shape(value):
            report.matched.append(key)
            matched_values += value.numel()
            continue
        text = key
        if key in state_dict:
            text = f'{key} (file {_shape(state_dict[key])}, model {tuple(value.shape)})'
        (report.mismatched if key in state_dict else report.missing).append(text)
        if key in parameters or key.endswith(('.running_mean', '.running_var')):
            report.not_loaded.append(text)
    report.unexpected = [key for key in state_dict if key not in own]
    report.fraction = matched_values / max(total, 1)
    matched = {key.split('.')[0] for key in report.matched}
    report.missing_modules = [
        name
        for name, part in model.named_children()
        if next(part.parameters(), None) is not None and name not in matched
    ]
    for prefix in _backbones(model):
        _compare_backbone(report, own, state_dict, prefix)
    return report


def _backbones(model: nn.Module) -> dict[str, Any]:
    """Return the backbones of this package in a model, by the prefix of their keys."""
    return {
        f'{name}.' if name else '': module
        for name, module in model.named_modules()
        if hasattr(module, 'translate_state_dict')
    }


def _compare_backbone(
    report: LoadReport, own: Mapping[str, Tensor], state_dict: Mapping[str, Tensor], prefix: str
) -> None:
    """Add width and depth mismatches of the backbone under ``prefix`` to a report.

    The fraction alone does not reveal them if large heads match.
    """
    shared = [key for key in own if key.startswith(prefix) and key in state_dict]
    matched = sum(own[key].numel() for key in shared if _shape(state_dict[key]) == _shape(own[key]))
    if matched < sum(own[key].numel() for key in shared) / 2:
        report.width_mismatches.append(prefix.rstrip('.') or 'the model')

    def count_blocks(keys: Iterable[str]) -> Counter[str]:
        block = re.compile(re.escape(prefix) + r'(stage\d+)\.\d+\.norm1\.weight')
        return Counter(match[1] for match in map(block.fullmatch, keys) if match)

    ours, theirs = count_blocks(own), count_blocks(state_dict)
    report.depth_mismatches += [
        f'{prefix}{stage} has {count} blocks, in the file {theirs[stage]}'
        for stage, count in ours.items()
        if theirs[stage] not in (0, count)
    ]


def _translated(model: nn.Module, state_dict: Mapping[str, Tensor]) -> OrderedDict[str, Tensor]:
    """Return a state dict with the published keys of all backbones translated, as the load hooks do."""
    state_dict = OrderedDict(state_dict)
    for prefix, module in _backbones(model).items():
        module.translate_state_dict(state_dict, prefix)
    return state_dict


def load_pretrained(
    model: nn.Module, checkpoint: str, prefix: str | None = None, map_location: Any = 'cpu', testing: bool = False
) -> LoadReport:
    """Load a checkpoint, published or of this package, into a model.

    Args:
        model (nn.Module): Backbone of this package, or a model that contains one.
        checkpoint (str): Path, URL or model name, as in :func:`~mmrest.checkpoints.read_checkpoint`.
        prefix (str, optional): Load only keys with this prefix, which is removed. Usually not needed, since the
            prefix of the backbone is recognized.
        map_location: As in :func:`torch.load`.
        testing (bool): As in :meth:`LoadReport.check`.

    Returns:
        LoadReport: Matched and missing keys. Also logged, as a warning if the model is not complete.

    Raises:
        FileNotFoundError: The file does not exist.
        CheckpointError: The file cannot be read, is refused, or does not match the model.
    """
    content = read_checkpoint(str(checkpoint), map_location)
    state_dict = unwrap_state_dict(content, str(checkpoint))
    if prefix:
        prefix = prefix.rstrip('.') + '.'
        state_dict = OrderedDict((k[len(prefix) :], v) for k, v in state_dict.items() if k.startswith(prefix))
    state_dict = _translated(model, state_dict)
    report = compare_state_dict(model, state_dict, str(checkpoint)).check(testing)
    meta = content.get('meta') if isinstance(content, Mapping) else None
    report.meta = dict(meta) if isinstance(meta, Mapping) else {}
    model.load_state_dict({key: state_dict[key] for key in report.matched}, strict=False)
    return report


def inner_model(model: nn.Module) -> nn.Module:
    """Return the model inside wrappers for distributed training and test-time augmentation."""
    inner: Any = model
    while is_model_wrapper(inner) or isinstance(inner, BaseTTAModel):
        inner = inner.module
    return inner
