"""Tables of the costs of the published architectures and ablations, beside the figures that the papers print."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import nn

from ..backbones import ResTAblation, ResTv2
from ..utils.tables import format_markdown
from .complexity import add_up, count_backbone
from .papers import REST, RESTV2

NUM_CLASSES = 1000
# Switches of the ablations in the ResT paper that change parameters or MACs.
ABLATIONS = (
    {},
    dict(stem='resnet'),
    dict(stem='pvt'),
    dict(reduction='avgpool'),
    dict(reduction='maxpool'),
    dict(head_interaction='conv'),
    dict(head_interaction='none'),
    dict(attention='msa'),
    dict(position='none'),
    dict(position='le'),
    dict(position='gl'),
    dict(position='gl_dw'),
)


@lru_cache(maxsize=None)
def count_classifier(backbone: type[nn.Module], size: int, **kwargs) -> tuple[int, int, int]:
    """Return parameters, MACs of layers and MACs with attention of an ImageNet classifier for images of size x size."""
    with torch.device('meta'):
        model = backbone(out_indices=(3,), **kwargs)
    costs, _ = count_backbone(model, (size, size))
    whole = add_up(costs)
    channels = model.out_channels[-1]
    linear = channels * NUM_CLASSES
    return whole.params + linear + NUM_CLASSES, whole.layers + linear, whole.total + linear


def comparison_table() -> str:
    """Return a Markdown table of all architectures: counted costs beside those that the papers print."""
    rows = []
    for arch, (params, macs) in REST.items():
        for stem in ('rest', 'resnet'):
            counted = count_classifier(ResTAblation, 224, arch=arch, stem=stem)
            printed = (params, macs) if stem == 'resnet' else ('', '')
            rows.append(_row(f'ResT-{arch.capitalize()}', stem, 224, counted, *printed))
    for arch, (params, *printed) in RESTV2.items():
        for size, macs in zip((224, 384), printed):
            counted = count_classifier(ResTv2, size, arch=arch)
            rows.append(_row(f'ResTv2-{arch.capitalize()}', '', size, counted, params, macs))
    header = ['', 'stem', 'size', 'parameters', 'printed, M', 'GMACs, layers', 'GMACs, with attention', 'printed, G']
    return format_markdown(header, rows)


def ablation_table() -> str:
    """Return a Markdown table of the costs of ResT-Lite at 224 x 224 with each switch, classifier included."""
    rows = []
    for switches in ABLATIONS:
        name = ', '.join(f"`{key}='{value}'`" for key, value in switches.items()) or 'as published'
        params, layers, total = count_classifier(ResTAblation, 224, arch='lite', **switches)
        rows.append([name, f'{params:,}', f'{layers / 1e9:.3f}', f'{total / 1e9:.3f}'])
    return format_markdown(['ResT-Lite', 'parameters', 'GMACs, layers', 'GMACs, with attention'], rows)


def _row(name: str, stem: str, size: int, counted: tuple[int, int, int], params, macs) -> list:
    return [name, stem, size, f'{counted[0]:,}', params, f'{counted[1] / 1e9:.3f}', f'{counted[2] / 1e9:.3f}', macs]
