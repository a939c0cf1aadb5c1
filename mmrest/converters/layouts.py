"""Recognition of the contents of a checkpoint from the names and shapes of its tensors."""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from typing import Any, Iterable, Mapping

import torch
from torch import Tensor

from ..backbones import PyramidBackbone, ResT, ResTv2
from ..backbones.rest import ARCHS as REST_ARCHS
from ..backbones.restv2 import ARCHS as RESTV2_ARCHS
from ..checkpoints import CheckpointError

NUM_STAGES = 4
# A tensor that every file of one version has, and no file of the other.
VERSION_KEYS = {'rest': 'patch_embed_2.conv.weight', 'restv2': 'patch_2.proj.weight'}
# The authors' detector code builds 'large' with one block more in stage 4 and half the heads of their classifier
# code, so that the published classifier does not fit it.
DETECTOR_LARGE = dict(RESTV2_ARCHS['large'], depths=(2, 3, 16, 3), num_heads=(1, 2, 4, 8))
NAMED_ARCHS = {
    'rest': REST_ARCHS,
    'restv2': {**RESTV2_ARCHS, 'large-detectron2': DETECTOR_LARGE},
}
# Keys outside the backbone that identify a whole model.
MODEL_KEYS = {
    'head.cls_subnet.0.weight': 'detectron2-retinanet',
    'roi_heads.mask_head.mask_fcn1.weight': 'detectron2-mask_rcnn',
    'decode_head.psp_modules.0.1.conv.weight': 'mmseg-upernet',
}
DESCRIPTIONS = {
    'classification': 'classifier',
    'backbone': 'backbone',
    'detectron2-retinanet': 'RetinaNet of detectron2',
    'detectron2-mask_rcnn': 'Mask R-CNN of detectron2',
    'mmseg-upernet': 'UPerNet of mmsegmentation',
    'other': 'model of another kind',
}


@dataclass
class Contents:
    """Recognized contents of a state dict.

    Attributes:
        layout (str): A key of ``DESCRIPTIONS``.
        version (str): 'rest' or 'restv2'.
        arch (str): Name of the architecture, or 'custom'.
        settings (dict): ``embed_dims``, ``depths``, ``num_heads`` and ``sr_ratios``, one int per
            stage each. ``num_heads`` is None for a custom ResTv2, whose tensors do not depend on it.
        prefix (str): Prefix of the names of the backbone's tensors.
        backbone (OrderedDict): The backbone's tensors, under the names of this package.
        norms (tuple[int]): Stages, counted from 1, whose output norm is in the file.
        classifier (OrderedDict): ``norm`` (of ResTv2) and ``head`` of a classifier.
        rest (OrderedDict): All other tensors, under the names of the file.
    """

    layout: str
    version: str
    arch: str
    settings: dict[str, tuple[int, ...] | None]
    prefix: str
    backbone: OrderedDict[str, Tensor]
    norms: tuple[int, ...] = ()
    classifier: OrderedDict[str, Tensor] = field(default_factory=OrderedDict)
    rest: OrderedDict[str, Tensor] = field(default_factory=OrderedDict)

    @property
    def name(self) -> str:
        """Name of the architecture in the authors' code, e.g. ``restv2_tiny``."""
        return f'{self.version}_{self.arch}'

    def __str__(self) -> str:
        listed = ', '.join(
            f'{key} {"unknown" if value is None else " ".join(map(str, value))}' for key, value in self.settings.items()
        )
        return f'a {DESCRIPTIONS[self.layout]} with {self.name} ({listed})'


def recognize(state_dict: Mapping[str, Any], source: str = 'the file') -> Contents:
    """Recognize layout and architecture of a published file.

    Args:
        state_dict (Mapping): From :func:`~mmrest.checkpoints.unwrap_state_dict`.
        source (str): Name of the file for messages.

    Raises:
        CheckpointError: The file holds no ResT or ResTv2, several of them, or an incomplete one.
    """
    tensors = OrderedDict((key, value.detach()) for key, value in state_dict.items() if isinstance(value, Tensor))
    version, prefix = _find_backbone(tensors, source)
    inner = OrderedDict((key[len(prefix) :], value) for key, value in tensors.items() if key.startswith(prefix))
    try:
        settings = _read_settings(inner, version, prefix, source)
        arch = _name_arch(settings, version)
        if arch != 'custom':
            settings = dict(NAMED_ARCHS[version][arch])
        model = build_on_meta(version, settings)
    except CheckpointError:
        raise
    except (IndexError, RuntimeError, ValueError, ZeroDivisionError) as error:
        raise CheckpointError(
            f'The shapes of the {version} in {source} (under "{prefix}") fit no network: {error}'
        ) from error

    kinds = {layout for mark, layout in MODEL_KEYS.items() if mark in tensors}
    classifier = OrderedDict()
    for key in ('norm.weight', 'norm.bias', 'head.weight', 'head.bias'):
        # The final norm of ResT is the output norm of its last stage.
        if key in inner and (version == 'restv2' or key.startswith('head')):
            classifier[key] = inner.pop(key)
    rest = OrderedDict((key, value) for key, value in tensors.items() if not key.startswith(prefix))
    if not prefix:  # other parts of the model have no prefix either
        own = _tops(model)
        for key in [key for key in inner if _top(key) not in own]:
            rest[key] = inner.pop(key)
    model.translate_state_dict(inner)
    _check_backbone(inner, model, source, prefix)
    if len(kinds) == 1:
        layout = kinds.pop()
    elif rest:
        layout = 'other'
    else:
        layout = 'classification' if 'head.weight' in classifier else 'backbone'
    norms = tuple(i for i in range(1, NUM_STAGES + 1) if f'norm{i}.weight' in inner)
    return Contents(layout, version, arch, settings, prefix, inner, norms, classifier, rest)


def build_on_meta(version: str, settings: Mapping[str, tuple[int, ...] | None]) -> PyramidBackbone:
    """Build the backbone with all output norms on the meta device."""
    # The shapes of ResTv2 do not depend on the number of heads.
    arch = {key: value or (1,) * NUM_STAGES for key, value in settings.items()}
    with torch.device('meta'):
        return {'rest': ResT, 'restv2': ResTv2}[version](arch)


def summarize(keys: Iterable[str], limit: int = 8) -> str:
    """Return a line with the most frequent first parts of names and their counts."""
    counts = Counter(_top(str(key)) for key in keys)
    listed = [f'{name} ({count})' for name, count in counts.most_common(limit)]
    return ', '.join(listed) + (', ...' if len(counts) > limit else '')


def _top(key: str) -> str:
    return key.split('.', 1)[0]


def _tops(model: PyramidBackbone) -> set[str]:
    """Return the first parts of the names of the backbone's tensors, in its own and in published files."""
    return {_top(key) for key in (*model.state_dict(), *model.published_norms)}


def _find_backbone(tensors: Mapping[str, Tensor], source: str) -> tuple[str, str]:
    found = [
        (version, key[: -len(anchor)])
        for version, anchor in VERSION_KEYS.items()
        for key in tensors
        if key == anchor or key.endswith('.' + anchor)
    ]
    if not found:
        raise CheckpointError(
            f'{source} holds neither ResT nor ResTv2. It has {len(tensors)} tensors: '
            f'{summarize(tensors)}. Is it a file of another network?'
        )
    if len(found) > 1:
        listed = ', '.join(f'{version} under "{prefix}"' for version, prefix in found)
        raise CheckpointError(
            f'{source} holds several backbones: {listed}. Save the state dict of the one that is '
            'wanted in a file of its own.'
        )
    return found[0]


def _read_settings(
    inner: Mapping[str, Tensor], version: str, prefix: str, source: str
) -> dict[str, tuple[int, ...] | None]:
    """Read the settings of an architecture from shapes; the number of heads of ResTv2 cannot be read."""
    settings = {'embed_dims': [], 'depths': [], 'num_heads': [], 'sr_ratios': []}
    for i in range(1, NUM_STAGES + 1):
        blocks = {
            int(parts[1])
            for parts in (key.split('.') for key in inner)
            if parts[0] == f'stage{i}' and parts[1].isdigit()
        }
        first = f'stage{i}.0'
        if blocks != set(range(len(blocks))) or f'{first}.norm1.weight' not in inner:
            raise CheckpointError(
                f'{source} is not complete: stage {i} of its {version} under "{prefix}" is missing, '
                'or some of its blocks.'
            )
        mixing, sr = inner.get(f'{first}.attn.transform_conv.weight'), inner.get(f'{first}.attn.sr.weight')
        settings['embed_dims'].append(inner[f'{first}.norm1.weight'].shape[0])
        settings['depths'].append(len(blocks))
        settings['num_heads'].append(1 if mixing is None else mixing.shape[0])
        settings['sr_ratios'].append(1 if sr is None else sr.shape[-1] - 1)
    settings = {key: tuple(values) for key, values in settings.items()}
    return settings if version == 'rest' else {**settings, 'num_heads': None}


def _name_arch(settings: Mapping[str, tuple[int, ...] | None], version: str) -> str:
    for name, named in NAMED_ARCHS[version].items():
        if all(value in (None, named[key]) for key, value in settings.items()):
            return name
    return 'custom'


def _check_backbone(inner: Mapping[str, Tensor], model: PyramidBackbone, source: str, prefix: str) -> None:
    own = model.state_dict()
    norms = {f'norm{i}.{leaf}' for i in range(1, NUM_STAGES + 1) for leaf in ('weight', 'bias')}
    missing = [key for key in own if key not in inner and key not in norms and 'num_batches_tracked' not in key]
    unknown = [key for key in inner if key not in own]
    differing = [
        f'{key} {tuple(inner[key].shape)} instead of {tuple(own[key].shape)}'
        for key in own
        if key in inner and inner[key].shape != own[key].shape
    ]
    for verb, keys in (('lacks', missing), ('has unknown', unknown), ('has of another shape', differing)):
        if keys:
            raise CheckpointError(
                f'The backbone in {source} (under "{prefix}") is unknown: it {verb} '
                f'{len(keys)} tensors, e.g. {", ".join(keys[:4])}.'
            )
