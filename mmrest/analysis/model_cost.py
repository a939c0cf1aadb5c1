"""Parameters and MACs of the whole model of a config, part by part."""

from __future__ import annotations

import torch
from mmengine.config import Config

from ..apis import build_backbone, build_model
from ..engine import UsageError
from ..utils.tables import format_table
from .complexity import Cost, add_up, count_backbone, count_module


def count_model(cfg: Config, name: str, shape: tuple[int, int]) -> list[Cost]:
    """Count backbone, neck and heads.

    The MACs of heads that depend on the values of their input, such as heads on regions of interest, are not counted.

    Args:
        cfg (Config): Config, changed in place by :func:`build_model`.
        name (str): Name of the config for messages.
        shape (tuple[int, int]): (H, W) of the image in pixels.

    Returns:
        list[Cost]: Stages of the backbone, then the other parts that have parameters, in the order of the model.

    Raises:
        UsageError: The config has no model with a backbone, the model cannot be built, or a part does not fit the
            output of the part before it.
    """
    with torch.device('meta'):
        model = build_model(cfg, name)
    costs, outs = count_backbone(model.backbone, shape)
    features, source = tuple(outs), 'backbone'
    for part_name, part in model.named_children():
        if part_name in ('backbone', 'data_preprocessor'):
            continue
        if part_name == 'auxiliary_head':  # one of a segmentor or a list of them, for training only
            costs.append(Cost(part_name, sum(p.numel() for p in part.parameters())))
            continue
        try:
            costs.append(count_module(part, part_name, features))
            if part_name == 'neck':
                with torch.no_grad():
                    features, source = tuple(part(features)), 'neck'
        except NotImplementedError:  # an operator without a meta kernel is no fault of the config
            raise
        except (AssertionError, IndexError, RuntimeError) as error:
            channels = ', '.join(str(x.shape[1]) for x in features)
            raise UsageError(
                f'The {part_name} of {name} does not fit its {source}, which emits {len(features)} maps '
                f'with {channels} channels: set in_channels of the {part_name} to these, or out_indices '
                f'of the backbone. {error}'.strip()
            ) from error
    return [cost for cost in costs if cost.params]


def count_architecture(name: str, arch: str | None, options: dict | None, shape: tuple[int, int]) -> list[Cost]:
    """Count each stage of a backbone of this package.

    Args:
        name (str): A key of :data:`mmrest.apis.BACKBONES`.
        arch (str, optional): Architecture; default: that of the class.
        options (dict, optional): Further arguments of the backbone.
        shape (tuple[int, int]): (H, W) of the image in pixels.
    """
    with torch.device('meta'):
        backbone = build_backbone(name, arch, options)
    return count_backbone(backbone, shape, name)[0]


def format_costs(costs: list[Cost], shape: tuple[int, int]) -> str:
    """Return a table of the costs of the parts of a model and of their sum.

    Args:
        costs (list[Cost]): Parts of the model.
        shape (tuple[int, int]): (H, W) of the image in pixels, for the title.
    """
    rows = []
    for cost in [*costs, add_up(costs)]:
        macs = (cost.layers, cost.attention, cost.total) if cost.layers is not None else ()
        counts = [f'{value / 1e9:.4f}' for value in macs] or ['not counted', '', '']
        rows.append([cost.name, f'{cost.params:,}', *counts])
    header = ['part', 'parameters', 'GMACs: layers', 'attention', 'with attention']
    lines = [f'One image of {shape[0]} x {shape[1]} (height x width)\n', format_table(header, rows)]
    if any(cost.layers is None for cost in costs):
        lines.append('\nnot counted: depends on the objects in the image, or is for training only.')
    return '\n'.join(lines)
