"""Matrix products of blocks of attention maps: half-precision operands, float32 results, no TF32 in the mixing.

Maps of a block lie in memory as (heads, images, rows, columns), with the columns padded to a multiple of
:data:`ROW_MULTIPLE`: rows are aligned for wide loads, and mixing the heads of all images is one matrix product.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

# Elements that a row of a map is padded to a multiple of: 32 bytes in half precision.
ROW_MULTIPLE = 16


def padded(length: int) -> int:
    """Round a length up to a multiple of :data:`ROW_MULTIPLE`."""
    return -(-length // ROW_MULTIPLE) * ROW_MULTIPLE


@lru_cache(maxsize=None)
def has_wide_results(device_type: str) -> bool:
    """Tell whether products of half-precision operands can come out in float32: on CUDA, from torch 2.8."""
    return device_type == 'cuda' and torch.version.hip is None and hasattr(torch.ops.aten.baddbmm, 'dtype_out')


def multiply(a: Tensor, b: Tensor, out: Tensor, alpha: float = 1.0, accumulate: bool = False) -> Tensor:
    """Batched matrix product ``out = alpha * a @ b``, or ``out += alpha * a @ b``, summed in the dtype of ``out``.

    Where the device has no product with a wider result, the operands are widened first: slower, and as exact.
    ``b`` may be a view; ``out`` is written in place, whatever it holds if nothing is accumulated.
    """
    beta = 1.0 if accumulate else 0.0
    if a.dtype == out.dtype:
        return torch.baddbmm(out, a, b, beta=beta, alpha=alpha, out=out)
    if has_wide_results(a.device.type):
        return torch.baddbmm(out, a, b, out_dtype=out.dtype, beta=beta, alpha=alpha, out=out)
    return torch.baddbmm(out, a.to(out.dtype), b.to(out.dtype), beta=beta, alpha=alpha, out=out)


def uses_tf32(device_type: str) -> bool:
    """Tell whether matrix products in float32 are rounded to TF32 on this device."""
    if device_type != 'cuda':
        return False
    matmul = torch.backends.cuda.matmul
    if hasattr(matmul, 'fp32_precision'):  # from torch 2.9, where the older flag raises if both have been used
        return matmul.fp32_precision == 'tf32'
    return matmul.allow_tf32


def mix_heads(weight: Tensor, maps: Tensor, out: Tensor, tf32: bool = False) -> Tensor:
    """Mix maps in full precision: out_h = sum_g weight_hg maps_g.

    Args:
        weight (Tensor): (k, k).
        maps, out (Tensor): (k, images, rows, columns) or (k, rows, columns), contiguous.
        tf32 (bool): A matrix-matrix product would be rounded to TF32. Products of a matrix and a vector never are,
            so these are taken then, without a change of the flag, which all threads share.
    """
    maps_2d, out_2d = maps.flatten(1), out.flatten(1)
    if tf32:
        for row, result in zip(weight, out_2d):
            torch.mv(maps_2d.t(), row, out=result)
    else:
        torch.mm(weight, maps_2d, out=out_2d)
    return out


def head_products(a: Tensor, b: Tensor, tf32: bool = False) -> Tensor:
    """Return the sum over images, rows and columns of a_h b_g, (k, k) in float64, in full precision.

    Args:
        a, b (Tensor): (k, images, rows, columns), contiguous.
        tf32 (bool): As in :func:`mix_heads`.
    """
    if tf32:
        b_2d = b.flatten(1)
        return torch.stack([torch.mv(b_2d, row) for row in a.flatten(1)]).double()
    a, b = a.flatten(1, 2), b.flatten(1, 2)
    # A product for each row: no long sum in float32.
    return torch.bmm(a.transpose(0, 1), b.permute(1, 2, 0)).sum(0, dtype=torch.float64)


class Scratch:
    """Buffers that the blocks of a pass share, by name; a block smaller than the first uses the head of each."""

    def __init__(self, like: Tensor) -> None:
        self.like = like
        self.buffers: dict[str, Tensor] = {}

    def __call__(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return uninitialized memory; what the buffer of this name held before, in whatever dtype, is gone."""
        size = dtype.itemsize
        for length in shape:
            size *= length
        buffer = self.buffers.get(name)
        if buffer is None or buffer.numel() < size:
            buffer = self.buffers[name] = self.like.new_empty(size, dtype=torch.uint8)
        return buffer[:size].view(dtype).view(shape)
