"""From a checkpoint file to a model: unwrapping, translating names, and saying what was used."""

from __future__ import annotations

import logging
import re
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from typing import Any, Iterable, Mapping

from mmengine.fileio import get_local_path
from mmengine.logging import print_log
from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import Tensor, nn

from .downloads import WEB, resolve
from .errors import CheckpointError
from .safe import load_file, load_url

# Where files keep their weights, first choice first.
CONTAINERS = ('state_dict', 'model', 'model_state_dict', 'model_ema')
# A file that fills less of a model than this is taken for the wrong one.
MIN_MATCH = 0.1


@dataclass
class LoadReport:
    """What of a state dict fits a model.

    Attributes:
        source (str): Where the state dict comes from.
        matched (list[str]): Keys that fit.
        missing (list[str]): Keys of the model that the state dict lacks.
        unexpected (list[str]): Keys that the model has no use for.
        mismatched (list[str]): Keys of the model whose shape differs, with both shapes.
        fraction (float): Share of the model's values, counted in numbers, that are filled.
        depths (list[str]): Stages of a backbone that have another number of blocks in the state dict.
        other_shapes (list[str]): Backbones that are in the state dict, but for the most part in other shapes.
        untouched (list[str]): Modules of the model, by name, with parameters of which the state dict has none.
        unfilled (list[str]): Parameters and running statistics that are missing or mismatched, with both shapes.
    """

    source: str
    matched: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)
    fraction: float = 0.0
    depths: list[str] = field(default_factory=list)
    other_shapes: list[str] = field(default_factory=list)
    untouched: list[str] = field(default_factory=list)
    unfilled: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Nothing of the model is left as it was."""
        return not (self.missing or self.mismatched)

    def __str__(self) -> str:
        lines = [f"{len(self.matched)} tensors, {self.fraction:.1%} of the model's values, loaded from {self.source}"]
        if self.depths:
            lines.append(f'  another depth: {", ".join(self.depths)}')
        for name in ('missing', 'mismatched', 'unexpected'):
            keys = getattr(self, name)
            if keys:
                lines.append(f'  {len(keys)} {name}: {_shorten(keys)}')
        return '\n'.join(lines)

    def check(self, testing: bool = False) -> LoadReport:
        """Raise if next to nothing fits, else log the report, as a warning if the model is not complete.

        Args:
            testing (bool): The model is not to be trained: what is not filled stays random.

        Raises:
            CheckpointError: Less than a tenth of the model's values would be filled, or its backbone is
                in the checkpoint with other numbers of channels; in testing, a parameter outside of auxiliary
                heads would not be filled.
        """
        if self.fraction < MIN_MATCH or self.other_shapes:
            raise CheckpointError(f'The checkpoint does not fit the model; another architecture? {self}')
        # Auxiliary heads are for training only, and published files may leave them out.
        unfilled = [name for name in self.untouched if not name.startswith('aux')] if testing else []
        if unfilled:
            raise CheckpointError(
                f'The checkpoint has nothing for {", ".join(unfilled)} of the model, which would be '
                f'tested with random weights; of another model, or of its backbone alone? {self}'
            )
        unfilled = [key for key in self.unfilled if not key.startswith('aux')] if testing else []
        if unfilled:
            raise CheckpointError(
                f'The checkpoint does not fill {_shorten(unfilled)} of the model, which would be '
                'tested with random values. Test with the config that it was trained with. '
                f'{self}'
            )
        fine = self.complete and not self.depths
        print_log(str(self), logger='current', level=logging.INFO if fine else logging.WARNING)
        return self


def _shape(value: Any) -> tuple[int, ...] | None:
    return tuple(value.shape) if isinstance(value, Tensor) else None


def _shorten(keys: list[str], most: int = 8) -> str:
    more = f', ... ({len(keys) - most} more)' if len(keys) > most else ''
    return ', '.join(keys[:most]) + more


def unwrap_state_dict(checkpoint: Any, source: str = 'the checkpoint') -> OrderedDict[str, Tensor]:
    """The state dict in a checkpoint: bare, or under ``state_dict``, ``model`` or the like.

    A ``module.`` before every key, as DataParallel leaves it, is taken off.

    Raises:
        CheckpointError: There is no state dict in it.
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
        state_dict._metadata = inner._metadata  # versions that modules go by when they load
    return state_dict


def translate_backbone_keys(
    keys: Iterable[str], own_keys: Iterable[str], norm_names: Mapping[str, str], anchor: str
) -> dict[str, str]:
    """New names for the keys of a published file.

    Whatever stands before the backbone's keys (``backbone.``, ``backbone.bottom_up.``) is taken off,
    and output norms are renamed. Keys that are the backbone's own already are not touched.

    Args:
        keys (Iterable[str]): Keys of the file.
        own_keys (Iterable[str]): Keys of the backbone.
        norm_names (Mapping[str, str]): Published name of each output norm to the backbone's.
        anchor (str): The key of the backbone by which it is recognized in the file.

    Returns:
        dict[str, str]: Old to new, for the keys that change.

    Raises:
        CheckpointError: The file holds several such backbones.
    """
    keys, own_keys = dict.fromkeys(keys), set(own_keys)  # a dict keeps the order of the file
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
        # A norm is renamed only into one that the backbone has and the file does not.
        if name in norm_names and (new not in own_keys or wrapper + new in keys):
            new = f'{name}.{leaf}'
        if name and new != key:
            renamed[key] = new
    return renamed


def compare_state_dict(
    model: nn.Module, state_dict: Mapping[str, Tensor], source: str = 'the state dict'
) -> LoadReport:
    """Say which keys of a state dict fit a model, published names of its backbone included."""
    state_dict = _translated(model, state_dict)
    report = LoadReport(source)
    filled = total = 0
    own = model.state_dict()
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    for key, value in own.items():
        total += value.numel()
        if key in state_dict and _shape(state_dict[key]) == _shape(value):
            report.matched.append(key)
            filled += value.numel()
            continue
        named = key
        if key in state_dict:
            named = f'{key} (file {_shape(state_dict[key])}, model {tuple(value.shape)})'
        (report.mismatched if key in state_dict else report.missing).append(named)
        if key in parameters or key.endswith(('.running_mean', '.running_var')):
            report.unfilled.append(named)
    report.unexpected = [key for key in state_dict if key not in own]
    report.fraction = filled / max(total, 1)
    matched = {key.split('.')[0] for key in report.matched}
    report.untouched = [
        name
        for name, part in model.named_children()
        if next(part.parameters(), None) is not None and name not in matched
    ]
    for prefix in _backbones(model):
        _compare_backbone(report, own, state_dict, prefix)
    return report


def _backbones(model: nn.Module) -> dict[str, nn.Module]:
    """Backbones of this package in a model, by what stands before the names of their tensors."""
    return {
        f'{name}.' if name else '': module
        for name, module in model.named_modules()
        if hasattr(module, 'translate_state_dict')
    }


def _compare_backbone(
    report: LoadReport, own: Mapping[str, Tensor], state_dict: Mapping[str, Tensor], prefix: str
) -> None:
    """Add to a report how the backbone under ``prefix`` differs in width and depth.

    Heads that fit would otherwise hide that the backbone does not.
    """
    both = [key for key in own if key.startswith(prefix) and key in state_dict]
    fitting = sum(own[key].numel() for key in both if _shape(state_dict[key]) == _shape(own[key]))
    if fitting < sum(own[key].numel() for key in both) / 2:
        report.other_shapes.append(prefix.rstrip('.') or 'the model')

    def count_blocks(keys: Iterable[str]) -> Counter[str]:
        block = re.compile(re.escape(prefix) + r'(stage\d+)\.\d+\.norm1\.weight')
        return Counter(match[1] for match in map(block.fullmatch, keys) if match)

    ours, theirs = count_blocks(own), count_blocks(state_dict)
    report.depths += [
        f'{prefix}{stage} has {count} blocks, in the file {theirs[stage]}'
        for stage, count in ours.items()
        if theirs[stage] not in (0, count)
    ]


def _translated(model: nn.Module, state_dict: Mapping[str, Tensor]) -> OrderedDict[str, Tensor]:
    """The state dict as the model's load hooks will turn it."""
    state_dict = OrderedDict(state_dict)
    for prefix, module in _backbones(model).items():
        module.translate_state_dict(state_dict, prefix)
    return state_dict


def load_pretrained(
    model: nn.Module, checkpoint: str, prefix: str | None = None, map_location: Any = 'cpu', testing: bool = False
) -> LoadReport:
    """Load a checkpoint file, the authors' or one's own, into a model and report what was used.

    Args:
        model (nn.Module): A backbone of this package, or a model with one in it.
        checkpoint (str): Path or URL of the file.
        prefix (str, optional): Take only keys with this prefix, and take it off. Usually not
            needed: wrappers around the backbone are recognized.
        map_location: As in :func:`torch.load`.
        testing (bool): As in :meth:`LoadReport.check`.

    Returns:
        LoadReport: Also logged, as a warning if anything of the model was not filled.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: It cannot be read, is refused, or next to nothing in it fits the model.
    """
    source = resolve(str(checkpoint))
    if source.startswith(WEB):
        state_dict = unwrap_state_dict(load_url(source, map_location), str(checkpoint))
    else:
        with get_local_path(source) as path:
            state_dict = unwrap_state_dict(load_file(path, map_location), str(checkpoint))
    if prefix:
        prefix = prefix.rstrip('.') + '.'
        state_dict = OrderedDict((k[len(prefix) :], v) for k, v in state_dict.items() if k.startswith(prefix))
    state_dict = _translated(model, state_dict)
    report = compare_state_dict(model, state_dict, str(checkpoint)).check(testing)
    model.load_state_dict({key: state_dict[key] for key in report.matched}, strict=False)
    return report


def inner_model(model: nn.Module) -> nn.Module:
    """The model inside wrappers of distributed training and of test-time augmentation."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model
