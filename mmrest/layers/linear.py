"""The linear layer of this package."""
from __future__ import annotations

from torch import Tensor, nn

from ..ops import linear


class TokenLinear(nn.Linear):
    """``nn.Linear`` on tokens, computed by :func:`mmrest.ops.linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, D)."""
        return linear(x, self.weight, self.bias)
