"""Parameters and multiply-accumulates (MACs), counted from the operators of a forward pass on the meta device.

Papers use one of two conventions:

* ``layers``: MACs of convolutions and linear layers, including the 1x1 convolution across heads. Hook-based counters
  report them, and the ResT paper prints them.
* ``with attention``: the same plus the two matrix products of attention. The ResTv2 paper prints them.

Norms, activations, softmax and biases are not MACs and not counted; the counters of the papers add some of them,
well below one per cent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterable

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ..apis import image_channels
from ..layers import HeadAttention


@dataclass
class Cost:
    """Cost of a part of a model for one image.

    Attributes:
        name (str): Name of the part.
        params (int): Number of parameters.
        layers (int | None): MACs of convolutions and linear layers; None where they cannot be counted.
        attention (int | None): MACs of the two matrix products of attention.
    """

    name: str
    params: int
    layers: int | None = None
    attention: int | None = None

    @property
    def total(self) -> int | None:
        """MACs of layers and attention; None where they cannot be counted."""
        return None if self.layers is None else self.layers + self.attention


def add_up(costs: Iterable[Cost], name: str = 'total') -> Cost:
    """Return the sum of parts; MACs that cannot be counted are left out of it."""
    costs = list(costs)
    return Cost(
        name, sum(c.params for c in costs), sum(c.layers or 0 for c in costs), sum(c.attention or 0 for c in costs)
    )


def count_attention_macs(model: nn.Module, image_shape: tuple[int, int]) -> int:
    """Count the MACs of the two matrix products of attention, queries with keys and attention maps with values.

    They are 2 n n' C for n queries, n' keys and C channels, and hook-based counters leave them out. The forward pass
    runs on the meta device, which computes nothing.

    Args:
        model (nn.Module): Backbone of this package; moved to the meta device in place.
        image_shape (tuple[int, int]): (H, W) of the image in pixels.

    Returns:
        int: MACs for one image.
    """
    with _AttentionCount(model) as count, torch.no_grad():
        model.to('meta').eval()(torch.empty(1, image_channels(model), *image_shape, device='meta'))
    return sum(count.macs.values())


def count_backbone(
    backbone: nn.Module, image_shape: tuple[int, int], name: str = 'backbone'
) -> tuple[list[Cost], list[Tensor]]:
    """Count each stage of a backbone for one image.

    Operators are counted as they are dispatched, whichever module calls them. On the meta device the attention of
    this package runs its plain formula; that of other packages counts as layers, by its matrix products.

    Args:
        backbone (nn.Module): Any backbone; moved to the meta device in place. A stage of a backbone of this package
            is its embedding, its blocks and its output norm; of another one, each child module is a part.
        image_shape (tuple[int, int]): (H, W) of the image in pixels.
        name (str): Prefix of the names of the parts.

    Returns:
        tuple[list[Cost], list[Tensor]]: Parts in order, and maps on the meta device.
    """
    x = torch.empty(1, image_channels(backbone), *image_shape, device='meta')
    per_module, outs = _count(backbone, x)
    stages: dict[str, list[str]] = {}
    for child, _ in backbone.named_children():
        stages.setdefault(_stage_of(backbone, child), []).append(child)
    costs = []
    for stage, children in stages.items():
        params = sum(p.numel() for child in children for p in getattr(backbone, child).parameters())
        layers, attention = (sum(per_module(child)[i] for child in children) for i in (0, 1))
        costs.append(Cost(f'{name}, {stage}', params, layers, attention))
    costs = [cost for cost in costs if cost.params or cost.layers]
    own = sum(p.numel() for p in backbone.parameters()) - sum(cost.params for cost in costs)
    rest = [
        whole - sum(getattr(cost, kind) for cost in costs)
        for whole, kind in zip(per_module(''), ('layers', 'attention'))
    ]
    if own or any(rest):
        costs.append(Cost(f'{name}, outside of its parts', own, *rest))
    return costs, list(outs) if isinstance(outs, (list, tuple)) else [outs]


def count_module(module: nn.Module, name: str, *inputs) -> Cost:
    """Count a module for inputs on the meta device; only its parameters where it cannot run there."""
    cost = Cost(name, sum(p.numel() for p in module.parameters()))
    try:
        per_module, _ = _count(module, *inputs)
    except (NotImplementedError, RuntimeError, ValueError, TypeError):  # an operator that depends on values, e.g. NMS
        return cost
    cost.layers, cost.attention = per_module('')
    return cost


def _count(module: nn.Module, *inputs):
    """Run a module on the meta device; return a function from a child to its (layers, attention), and the output."""
    module = module.to('meta')
    module.eval()  # returns nothing in some backbones of mmdet
    root = type(module).__name__
    with _AttentionCount(module) as attention, FlopCounterMode(display=False, depth=None) as counter, torch.no_grad():
        outs = module(*inputs)
    flops = {name: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}

    def per_module(child: str) -> tuple[int, int]:
        products = sum(macs for key, macs in attention.macs.items() if not child or f'{key}.'.startswith(f'{child}.'))
        counted = _flops_below(flops, f'{root}.{child}') if child else counter.get_total_flops()
        return counted // 2 - products, products

    return per_module, outs


def _flops_below(flops: dict[str, int], name: str) -> int:
    """Return the FLOPs of a module, or the sum over the modules of a list, which has none of its own."""
    if name in flops:
        return flops[name]
    inside = [key for key in flops if key.startswith(f'{name}.')]
    topmost = [key for key in inside if not any(key.startswith(f'{other}.') for other in inside)]
    return sum(flops[key] for key in topmost)


def _stage_of(backbone: nn.Module, child: str) -> str:
    """Return the name of the stage that a child belongs to; in backbones of other packages, the name of the child."""
    for i in range(len(getattr(backbone, 'embed_names', ()))):
        if child in backbone.stage_modules(i):
            return f'stage {i + 1}'
    return child


class _AttentionCount:
    """Context manager that counts the matrix products of attention in ``macs``, by name of the module."""

    def __init__(self, model: nn.Module) -> None:
        self.modules = {module: name for name, module in model.named_modules() if isinstance(module, HeadAttention)}

    def __enter__(self) -> _AttentionCount:
        self.macs: dict[str, int] = {}
        self.handles = [module.register_forward_pre_hook(self._add) for module in self.modules]
        return self

    def _add(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        q, k = inputs[:2]
        name = self.modules[module]
        self.macs[name] = self.macs.get(name, 0) + 2 * q.numel() * k.shape[-2]

    def __exit__(self, *_) -> None:
        for handle in self.handles:
            handle.remove()
