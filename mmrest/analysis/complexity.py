"""What a model costs, counted from the operations of a forward pass on the meta device.

Two conventions are in use, and papers rarely say which:

* ``layers``: the multiply-accumulates (MACs) of convolutions and linear layers, the 1x1 convolution across
  heads included. It is what counters that look at layers find, and what the ResT paper prints.
* ``with attention``: those, and the two matrix products of attention. It is what the ResTv2 paper prints.

Neither counts norms, activations, softmax or biases, which are not multiply-accumulates; the papers' counters
add some of them, well below one per cent.
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
        name (str): The part.
        params (int): Number of parameters.
        layers (int | None): MACs of layers; None where they cannot be counted.
        attention (int | None): MACs of the two matrix products of attention.
    """

    name: str
    params: int
    layers: int | None = None
    attention: int | None = None

    @property
    def total(self) -> int | None:
        """MACs of layers and attention."""
        return None if self.layers is None else self.layers + self.attention


def add_up(costs: Iterable[Cost], name: str = 'total') -> Cost:
    """The sum of parts, of which those whose MACs cannot be counted add none."""
    costs = list(costs)
    return Cost(
        name, sum(c.params for c in costs), sum(c.layers or 0 for c in costs), sum(c.attention or 0 for c in costs)
    )


def count_attention_macs(model: nn.Module, image_shape: tuple[int, int]) -> int:
    """Multiply-accumulates of the two matrix products of attention, keys with queries and maps with values.

    Tools that count layers leave them out. For n queries, n' keys and C channels they are 2 n n' C;
    windows make both n and n' small. The forward pass is run on the meta device, so nothing is
    computed, and any size is counted in a moment.

    Args:
        model (nn.Module): A backbone of this package; moved to the meta device for good.
        image_shape (tuple[int, int]): (H, W) in pixels.

    Returns:
        int: For one image.
    """
    with _AttentionCount(model) as count, torch.no_grad():
        model.to('meta').eval()(torch.empty(1, image_channels(model), *image_shape, device='meta'))
    return sum(count.macs.values())


def count_backbone(
    backbone: nn.Module, image_shape: tuple[int, int], name: str = 'backbone'
) -> tuple[list[Cost], list[Tensor]]:
    """Cost of each stage of a backbone for one image, in order, and the maps that it emits.

    Operations are counted as they are dispatched, so it does not matter which modules run them. On the meta
    device attention takes its plain formula, so it is counted whatever would compute it elsewhere. (Attention
    of other packages is among their layers, by its matrix products.)

    Args:
        backbone (nn.Module): Any; moved to the meta device for good. A stage of one of this package is its
            embedding, its blocks and its output norm; of another, each of its children is a part.
        image_shape (tuple[int, int]): (H, W) in pixels.
        name (str): Stands before the names of the parts.

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
    """Cost of a module for inputs on the meta device; of one that cannot run there, its parameters alone."""
    cost = Cost(name, sum(p.numel() for p in module.parameters()))
    try:
        per_module, _ = _count(module, *inputs)
    except (NotImplementedError, RuntimeError, ValueError, TypeError):  # a step that needs values, e.g. NMS
        return cost
    cost.layers, cost.attention = per_module('')
    return cost


def _count(module: nn.Module, *inputs):
    """Run a module on the meta device: a function from a child's name to (layers, attention), and the output."""
    module = module.to('meta').eval()
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
    """Of a module, or of those in a list of modules, which is itself never called."""
    if name in flops:
        return flops[name]
    inside = [key for key in flops if key.startswith(f'{name}.')]
    topmost = [key for key in inside if not any(key.startswith(f'{other}.') for other in inside)]
    return sum(flops[key] for key in topmost)


def _stage_of(backbone: nn.Module, child: str) -> str:
    """The name of the stage that a child of the backbone belongs to; its own, in other backbones."""
    for i in range(len(getattr(backbone, 'embed_names', ()))):
        if child in backbone.stage_modules(i):
            return f'stage {i + 1}'
    return child


class _AttentionCount:
    """Counts the matrix products of attention while it is entered; ``macs``, by name of the module."""

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
