"""Baselines of the benchmark: EMSA with explicit attention maps, in a backbone without fast paths."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import HeadAttention
from ..ops import emsa_reference, fast_paths


def emsa_released(
    q: Tensor, k: Tensor, v: Tensor, mix_weight: Tensor | None = None, mix_bias: Tensor | None = None
) -> Tensor:
    """Compute EMSA as the authors' code does, with a 1x1 convolution across heads and InstanceNorm.

    Arguments and result are those of :func:`mmrest.ops.emsa`.
    """
    maps = (q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5
    if mix_weight is None:
        maps = maps.softmax(-1)
    else:
        maps = F.instance_norm(F.conv2d(maps, mix_weight[..., None, None], mix_bias).softmax(-1))
    return maps @ v


# The formula of mmrest.ops, which mixes the heads by a matrix product.
emsa_matmul = emsa_reference
BASELINES = {'released': emsa_released, 'matmul': emsa_matmul}


class _BaselineAttention(nn.Module):
    def __init__(self, form: str) -> None:
        super().__init__()
        self.function = BASELINES[form]

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mix: nn.Conv2d | None = None) -> Tensor:
        if mix is None:
            return self.function(q, k, v)
        return self.function(q, k, v, mix.weight[..., 0, 0], mix.bias)


def _make_contiguous(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (inputs[0].contiguous(),)


class Baseline(nn.Module):
    """Backbone with explicit attention maps in all blocks, without fast paths and memory formats of its own.

    Args:
        backbone (nn.Module): Backbone of this package; its attention is replaced in place.
        form (str): A key of :data:`BASELINES`.
    """

    def __init__(self, backbone: nn.Module, form: str) -> None:
        super().__init__()
        for module in list(backbone.modules()):
            for name, child in module.named_children():
                if isinstance(child, HeadAttention):
                    setattr(module, name, _BaselineAttention(form))
        stem = getattr(backbone, backbone.embed_names[0])
        stem.register_forward_pre_hook(_make_contiguous)
        self.backbone = backbone

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the feature maps of the backbone for images (B, 3, H, W)."""
        with fast_paths(False):
            return self.backbone(x)
