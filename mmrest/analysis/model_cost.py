"""What the whole model of a config costs, part by part."""

from __future__ import annotations

import torch
from mmengine.config import Config

from ..apis import build_model
from ..engine import UsageError
from .complexity import Cost, count_backbone, count_module


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
