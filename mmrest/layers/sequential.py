"""Sequential container of layers."""

from __future__ import annotations

from torch import Tensor, nn

from ..ops import call_layer


class LayerSequence(nn.Sequential):
    """``nn.Sequential`` that calls its layers through :func:`mmrest.ops.call_layer`."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> output of the last layer."""
        for layer in self:
            x = call_layer(layer, x)
        return x
