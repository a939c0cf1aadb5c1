"""What a backbone costs, counted from the calls that a forward pass makes."""
from __future__ import annotations

import torch
from torch import Tensor, nn

from ..layers import HeadAttention


def count_attention_macs(model: nn.Module, image_shape: tuple[int, int], in_channels: int = 3) -> int:
    """Multiply-accumulates of the two matrix products of attention, keys with queries and maps with values.

    Tools that count layers leave them out. For n queries, n' keys and C channels they are 2 n n' C;
    windows make both n and n' small. The forward pass is run on the meta device, so nothing is
    computed, and any size is counted in a moment.

    Args:
        model (nn.Module): A backbone of this package; moved to the meta device for good.
        image_shape (tuple[int, int]): (H, W) in pixels.
        in_channels (int): Channels of the image.

    Returns:
        int: For one image.
    """
    macs = 0

    def count(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        nonlocal macs
        q, k = inputs[:2]
        macs += 2 * q.numel() * k.shape[-2]

    handles = [module.register_forward_pre_hook(count) for module in model.modules()
               if isinstance(module, HeadAttention)]
    with torch.no_grad():
        model.to('meta').eval()(torch.empty(1, in_channels, *image_shape, device='meta'))
    for handle in handles:
        handle.remove()
    return macs
