"""What the fast path is measured against: EMSA with whole maps, in two forms, in a backbone without fast paths."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import HeadAttention
from ..ops import emsa_reference, fast_paths


def emsa_released(
    q: Tensor, k: Tensor, v: Tensor, mix_weight: Tensor | None = None, mix_bias: Tensor | None = None
) -> Tensor:
    """EMSA with the stock layers of the authors' model: a 1x1 convolution across heads, and InstanceNorm.

    Arguments and result as in :func:`mmrest.ops.emsa`.
    """
    maps = (q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5
    if mix_weight is None:
        maps = maps.softmax(-1)
    else:
        maps = F.instance_norm(F.conv2d(maps, mix_weight[..., None, None], mix_bias).softmax(-1))
    return maps @ v


# The readable formula of mmrest.ops, where the heads are mixed by a matrix product.
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


def _as_it_came(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (inputs[0].contiguous(),)


class Baseline(nn.Module):
    """A backbone of this package in its plain form: explicit maps in all blocks, no fast paths, the image as it comes.

    Args:
        backbone (nn.Module): Its attention is replaced for good.
        form (str): 'released' or 'matmul'.
    """

    def __init__(self, backbone: nn.Module, form: str) -> None:
        super().__init__()
        for module in list(backbone.modules()):
            for name, child in module.named_children():
                if isinstance(child, HeadAttention):
                    setattr(module, name, _BaselineAttention(form))
        stem = getattr(backbone, backbone.embed_names[0])
        stem.register_forward_pre_hook(_as_it_came)
        self.backbone = backbone

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """As the backbone."""
        with fast_paths(False):
            return self.backbone(x)
