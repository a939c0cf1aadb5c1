"""What the whole model of a config costs, part by part."""

from __future__ import annotations

import torch
from mmengine.config import Config

from ..apis import build_backbone, build_model
from ..engine import UsageError
from .complexity import Cost, add_up, count_backbone, count_module


def count_model(cfg: Config, name: str, shape: tuple[int, int]) -> list[Cost]:
    """Cost of backbone, neck and heads; heads that need values to run (regions of interest) by parameters alone.

    Args:
        cfg (Config): Changed in place, as :func:`build_model` does.
        name (str): Of the config, for messages.
        shape (tuple[int, int]): (H, W) of the image in pixels.

    Raises:
        UsageError: The config has no model with a backbone, it cannot be built, or a part does not fit the one before.
    """
    with torch.device('meta'):
        model = build_model(cfg, name)
    costs, outs = count_backbone(model.backbone, shape)
    features, source = tuple(outs), 'backbone'
    for part_name, part in model.named_children():
        if part_name in ('backbone', 'data_preprocessor'):
            continue
        if part_name == 'auxiliary_head':  # a segmentor's or several; in training only
            costs.append(Cost(part_name, sum(p.numel() for p in part.parameters())))
            continue
        try:
            costs.append(count_module(part, part_name, features))
            if part_name == 'neck':
                with torch.no_grad():
                    features, source = tuple(part(features)), 'neck'
        except NotImplementedError:  # of the meta device: it says nothing of the config
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
    """Cost of each stage of a backbone.

    Args:
        name (str): Registered name of the backbone.
        arch (str, optional): Name of its architecture.
        options (dict, optional): Further arguments of the backbone.
        shape (tuple[int, int]): (H, W) of the image in pixels.
    """
    with torch.device('meta'):
        backbone = build_backbone(name, arch, options)
    return count_backbone(backbone, shape, name)[0]


def format_costs(costs: list[Cost], shape: tuple[int, int]) -> str:
    """Table of the costs of the parts of a model for an image of a shape (H, W), and their sum."""
    width = max(len(cost.name) for cost in costs)
    lines = [
        f'One image of {shape[0]} x {shape[1]} (height x width)\n',
        f'{"":{width}}  {"parameters":>12}  {"GMACs: layers":>14}  {"attention":>10}  {"with attention":>14}',
    ]
    for cost in [*costs, add_up(costs)]:
        macs = (
            ['not counted', '', '']
            if cost.layers is None
            else [f'{value / 1e9:.4f}' for value in (cost.layers, cost.attention, cost.total)]
        )
        lines.append(f'{cost.name:{width}}  {cost.params:12,}  {macs[0]:>14}  {macs[1]:>10}  {macs[2]:>14}')
    if any(cost.layers is None for cost in costs):
        lines.append('\nnot counted: depends on what is found in the image, or is for training only.')
    return '\n'.join(lines)
