"""Triton kernels between the matrix products of EMSA: all that happens to a row of the maps of all heads.

Imported by functions of :mod:`mmrest.ops.triton_rows` alone, as Triton need not be installed. A program takes one row
of one image, with the rows of all k heads, since heads mix: it walks over the row by tiles of (k, TILE) twice in the
forward pass and three times in the backward pass, and what it reads again is still in cache. Everything is float32;
operands of matrix products are written in their dtype.

Maps are (k, images, rows, columns), contiguous, with the number of columns a multiple of 16 for loads of 128 bits;
m of them are keys. Padding is never used as a number, and written as zeros. The grid is (rows, images).
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _row_starts(columns, HEADS: tl.constexpr):
    """Offset of this program's row in the maps of each head, (k,)."""
    row = tl.program_id(1).to(tl.int64) * tl.num_programs(0) + tl.program_id(0)
    rows = tl.num_programs(1).to(tl.int64) * tl.num_programs(0)
    return (tl.arange(0, HEADS) * rows + row) * columns


@triton.jit
def _load_tile(maps_ptr, offsets, valid, present):
    """Numbers of a tile as float32, 0 in the padding, whatever memory holds there."""
    tile = tl.load(maps_ptr + offsets, mask=present, other=0.0).to(tl.float32)
    return tl.where(valid, tile, 0.0)


@triton.jit
def _mix(weight, tile):
    """Weighted sums over heads: (h, g) and (g, columns) -> (h, columns)."""
    return tl.sum(weight[:, :, None] * tile[None, :, :], 1)


@triton.jit
def _softmax_constants(logits_ptr, weight, m, columns, HEADS: tl.constexpr, TILE: tl.constexpr):
    """Maximum of the mixed logits of a row, and 1 / sum exp(logit - maximum), (k,) each."""
    starts = _row_starts(columns, HEADS)
    peak = tl.full([HEADS], float('-inf'), tl.float32)
    total = tl.zeros([HEADS], tl.float32)
    for first in range(0, columns, TILE):
        column = first + tl.arange(0, TILE)
        valid = (column < m)[None, :]
        logits = _load_tile(logits_ptr, starts[:, None] + column[None, :], valid, (column < columns)[None, :])
        mixed = tl.where(valid, _mix(weight, logits), float('-inf'))
        new_peak = tl.maximum(peak, tl.max(mixed, 1))
        total = total * tl.exp(peak - new_peak) + tl.sum(tl.exp(mixed - new_peak[:, None]), 1)
        peak = new_peak
    return peak, 1.0 / total


@triton.jit
def maps_kernel(
    logits_ptr,
    weight_ptr,
    maps_ptr,
    norms_ptr,
    m,
    columns,
    norms_head_stride,
    norms_image_stride,
    scale,
    HEADS: tl.constexpr,
    TILE: tl.constexpr,
):
    """Write (A - 1/m) * scale, A the softmax over the mixed logits, and the norm of each of its rows."""
    heads = tl.arange(0, HEADS)
    weight = tl.load(weight_ptr + heads[:, None] * HEADS + heads[None, :])
    peak, inverse = _softmax_constants(logits_ptr, weight, m, columns, HEADS, TILE)
    starts = _row_starts(columns, HEADS)
    moment = tl.zeros([HEADS], tl.float32)
    for first in range(0, columns, TILE):
        column = first + tl.arange(0, TILE)
        valid, present = (column < m)[None, :], (column < columns)[None, :]
        offsets = starts[:, None] + column[None, :]
        mixed = _mix(weight, _load_tile(logits_ptr, offsets, valid, present))
        centered = tl.where(valid, tl.exp(mixed - peak[:, None]) * inverse[:, None] - 1.0 / m, 0.0)
        moment += tl.sum(centered * centered, 1)
        tl.store(maps_ptr + offsets, (centered * scale).to(maps_ptr.dtype.element_ty), mask=present)
    norms_ptr += heads.to(tl.int64) * norms_head_stride + tl.program_id(1).to(tl.int64) * norms_image_stride
    tl.store(norms_ptr + tl.program_id(0), tl.sqrt(moment) * scale)


@triton.jit
def grads_kernel(
    logits_ptr,
    grads_ptr,
    weight_ptr,
    shift_ptr,
    maps_ptr,
    grad_logits_ptr,
    grad_weight_ptr,
    m,
    columns,
    scale,
    HEADS: tl.constexpr,
    TILE: tl.constexpr,
):
    """Turn gradients of the maps into those of the logits and, for each row, of the weights; write the maps as well.

    To the gradients of A, grads, shift * A is added: (images, k), through the variance.
    """
    heads = tl.arange(0, HEADS)
    weight = tl.load(weight_ptr + heads[:, None] * HEADS + heads[None, :])
    shift = tl.load(shift_ptr + tl.program_id(1) * HEADS + heads)
    peak, inverse = _softmax_constants(logits_ptr, weight, m, columns, HEADS, TILE)
    starts = _row_starts(columns, HEADS)
    constant = tl.zeros([HEADS], tl.float32)
    for first in range(0, columns, TILE):
        column = first + tl.arange(0, TILE)
        valid, present = (column < m)[None, :], (column < columns)[None, :]
        offsets = starts[:, None] + column[None, :]
        mixed = _mix(weight, _load_tile(logits_ptr, offsets, valid, present))
        maps = tl.where(valid, tl.exp(mixed - peak[:, None]) * inverse[:, None], 0.0)
        grads = _load_tile(grads_ptr, offsets, valid, present)
        constant += tl.sum(maps * (grads + shift[:, None] * maps), 1)
    grad_weight = tl.zeros([HEADS, HEADS], tl.float32)
    for first in range(0, columns, TILE):
        column = first + tl.arange(0, TILE)
        valid, present = (column < m)[None, :], (column < columns)[None, :]
        offsets = starts[:, None] + column[None, :]
        logits = _load_tile(logits_ptr, offsets, valid, present)
        maps = tl.where(valid, tl.exp(_mix(weight, logits) - peak[:, None]) * inverse[:, None], 0.0)
        grads = _load_tile(grads_ptr, offsets, valid, present)
        grads = maps * (grads + shift[:, None] * maps - constant[:, None])
        grad_weight += tl.sum(grads[:, None, :] * logits[None, :, :], 2)
        back = tl.sum(weight[:, :, None] * grads[:, None, :], 0)
        tl.store(grad_logits_ptr + offsets, back.to(grad_logits_ptr.dtype.element_ty), mask=present)
        maps = tl.where(valid, maps - 1.0 / m, 0.0)
        tl.store(maps_ptr + offsets, (maps * scale).to(maps_ptr.dtype.element_ty), mask=present)
    row = tl.program_id(1).to(tl.int64) * tl.num_programs(0) + tl.program_id(0)
    grad_weight_ptr += row * HEADS * HEADS
    tl.store(grad_weight_ptr + heads[:, None] * HEADS + heads[None, :], grad_weight)
