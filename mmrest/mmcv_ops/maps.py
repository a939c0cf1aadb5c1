"""Operators on feature maps: masked convolution, CARAFE and the attention masks of PSANet.

Arguments are those of ``mmcv._ext``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .common import as_compiled

COLLECT = 0  # psa_type; the other one is 'distribute'


@as_compiled
def masked_im2col_forward(
    im: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    col: Tensor,
    kernel_h: int,
    kernel_w: int,
    pad_h: int,
    pad_w: int,
) -> None:
    """Write the patches of ``im`` (1, C, H, W) at n positions to ``col`` (C * kernel_h * kernel_w, n)."""
    padded = F.pad(im[0], (pad_w, pad_w, pad_h, pad_h))
    columns = col.view(len(padded), kernel_h, kernel_w, -1)
    for row in range(kernel_h):
        for column in range(kernel_w):
            columns[:, row, column] = padded[:, mask_h_idx + row, mask_w_idx + column]


@as_compiled
def masked_col2im_forward(
    col: Tensor, mask_h_idx: Tensor, mask_w_idx: Tensor, im: Tensor, height: int, width: int, channels: int
) -> None:
    """Write ``col`` (channels, n) to n positions of ``im`` (1, channels, height, width)."""
    im[0, :, mask_h_idx, mask_w_idx] = col


def _reassemble(features: Tensor, masks: Tensor, kernel_size: int, group_size: int, scale_factor: int) -> Tensor:
    """Reassemble ``features`` (B, C, H, W) as in CARAFE (Wang et al., 2019), one kernel position at a time."""
    batch, channels, height, width = features.shape
    padded = F.pad(features, [(kernel_size - 1) // 2] * 4)
    masks = masks.view(batch, group_size, 1, kernel_size**2, height, scale_factor, width, scale_factor)
    output = 0
    for tap in range(kernel_size**2):
        row, column = divmod(tap, kernel_size)
        moved = padded[:, :, row : row + height, column : column + width]
        moved = moved.reshape(batch, group_size, -1, height, 1, width, 1)
        output = output + moved * masks[:, :, :, tap]
    return output.reshape(batch, channels, height * scale_factor, width * scale_factor)


@as_compiled
def carafe_naive_forward(
    features: Tensor, masks: Tensor, output: Tensor, kernel_size: int, group_size: int, scale_factor: int
) -> None:
    """Write the reassembled features (B, C, H * scale_factor, W * scale_factor) to ``output``."""
    output.copy_(_reassemble(features, masks, kernel_size, group_size, scale_factor))


@as_compiled
def carafe_naive_backward(
    grad_output: Tensor,
    features: Tensor,
    masks: Tensor,
    grad_input: Tensor,
    grad_masks: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Write the gradients of features and masks."""
    with torch.enable_grad():
        leaves = [features.detach().requires_grad_(), masks.detach().requires_grad_()]
        output = _reassemble(*leaves, kernel_size, group_size, scale_factor)
        grads = torch.autograd.grad(output, leaves, grad_output)
    grad_input.copy_(grads[0])
    grad_masks.copy_(grads[1])


@as_compiled
def carafe_forward(
    features: Tensor,
    masks: Tensor,
    rfeatures: Tensor,
    routput: Tensor,
    rmasks: Tensor,
    output: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Write the reassembled features to ``output``, and the features to ``rfeatures`` for the backward pass."""
    rfeatures.copy_(features)
    output.copy_(_reassemble(features, masks, kernel_size, group_size, scale_factor))


@as_compiled
def carafe_backward(
    grad_output: Tensor,
    rfeatures: Tensor,
    masks: Tensor,
    rgrad_output: Tensor,
    rgrad_input_hs: Tensor,
    rgrad_input: Tensor,
    rgrad_masks: Tensor,
    grad_input: Tensor,
    grad_masks: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Write the gradients of features and masks."""
    carafe_naive_backward(grad_output, rfeatures, masks, grad_input, grad_masks, kernel_size, group_size, scale_factor)


def _psa_places(size: int, mask: int, half: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return indices into the mask for pairs of positions along one axis (size, size), and a mask of valid ones."""
    steps = torch.arange(size, device=device)
    index = steps[:, None] - steps + half
    return index.clamp(0, mask - 1), (index >= 0) & (index < mask)


def _psa_attention(
    input: Tensor,
    psa_type: int,
    num_: int,
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
) -> Tensor:
    rows, has_row = _psa_places(h_feature, h_mask, half_h_mask, input.device)
    columns, has_column = _psa_places(w_feature, w_mask, half_w_mask, input.device)
    high, wide = (torch.arange(size, device=input.device) for size in (h_feature, w_feature))
    masks = input.view(num_, h_mask, w_mask, h_feature, w_feature)
    taken = masks[:, rows[:, None, :, None], columns[None, :, None, :], high[:, None], wide]
    taken = taken * (has_row[:, None, :, None] & has_column[None, :, None, :])
    flat = taken.reshape(num_, h_feature * w_feature, h_feature * w_feature)
    flat = flat if psa_type == COLLECT else flat.transpose(1, 2)
    return flat.reshape(num_, -1, h_feature, w_feature)


@as_compiled
def psamask_forward(input: Tensor, output: Tensor, psa_type: int, **sizes: int) -> None:
    """Write the PSANet attention (Zhao et al., 2018) of ``input`` (B, masks, H, W) to ``output`` (B, H * W, H, W)."""
    output.copy_(_psa_attention(input, psa_type, **sizes))


@as_compiled
def psamask_backward(grad_output: Tensor, grad_input: Tensor, psa_type: int, **sizes: int) -> None:
    """Write the gradient of the masks (B, masks, H, W) to ``grad_input``."""
    with torch.enable_grad():
        leaf = torch.zeros_like(grad_input).requires_grad_()
        (grad,) = torch.autograd.grad(_psa_attention(leaf, psa_type, **sizes), leaf, grad_output)
    grad_input.copy_(grad)
