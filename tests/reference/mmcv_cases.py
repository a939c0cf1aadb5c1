"""Calls of mmcv's operators on made-up numbers, whose values under compiled mmcv are stored."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, Callable, Iterator

import torch
from torch import Tensor

STORED = Path(__file__).with_name('mmcv_ops.npz')


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def boxes(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return random boxes, many of them overlapping, and their scores."""
    start = torch.rand(n, 2, generator=generator(seed)) * 60
    size = torch.rand(n, 2, generator=generator(seed + 1)) * 40
    return torch.cat([start, start + size], 1), torch.rand(n, generator=generator(seed + 2))


def with_grads(function: Callable, *leaves: Tensor) -> list[Tensor]:
    """Return the output of a function and the gradients of its arguments under a fixed gradient of the output."""
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]
    output = function(*leaves)
    grad = torch.randn(output.shape, generator=generator(9)).to(output.dtype)
    return [output.detach(), *torch.autograd.grad(output, leaves, grad)]


def suppression(ops: Any) -> Iterator[tuple[str, Callable]]:
    for n, threshold, offset in itertools.product((0, 1, 17, 300), (0.0, 0.5, 1.0), (0, 1)):
        yield f'nms {n} {threshold} {offset}', lambda: ops.nms(*boxes(n), threshold, offset)
    for n in (17, 50, 300):  # the order of equal scores is mmcv's own
        b, s = boxes(n)
        yield f'nms ties {n}', lambda: ops.nms(b, (s * 10).round() / 10, 0.5)
        yield f'nms all tied {n}', lambda: ops.nms(b, torch.ones_like(s), 0.5)
        yield f'nms whole numbers {n}', lambda: ops.nms(b.round(), s, 0.5)
        yield f'nms repeated {n}', lambda: ops.nms(b[:1].repeat(n, 1), s, 0.5)
        flipped = torch.where(torch.arange(n)[:, None] % 4 == 0, b[:, [2, 3, 0, 1]], b)
        yield f'nms without area {n}', lambda: ops.nms(flipped, s, 0.5)
        classes = torch.arange(n) % 5
        for kind in ('nms', 'soft_nms'):
            cfg = dict(type=kind, iou_threshold=0.5)
            yield f'batched {kind} {n}', lambda: ops.batched_nms(b, s, classes, cfg)
        split = dict(type='nms', iou_threshold=0.5, split_thr=9)
        yield f'batched split {n}', lambda: ops.batched_nms(b, s, classes, split)
        yield (
            f'nms_match {n}',
            lambda: [torch.as_tensor(group) for group in ops.nms_match(torch.cat([b, s[:, None]], 1), 0.5)],
        )
        for method, offset in itertools.product(('naive', 'linear', 'gaussian'), (0, 1)):
            yield f'soft_nms {method} {n} {offset}', lambda: ops.soft_nms(b, s, 0.3, 0.5, 0.05, method, offset)
            yield (
                f'soft_nms ties {method} {n} {offset}',
                lambda: ops.soft_nms(b, torch.ones_like(s), 0.3, 0.5, 0.05, method, offset),
            )
        for mode, aligned, offset in itertools.product(('iou', 'iof'), (False, True), (0, 1)):
            yield (
                f'overlaps {mode} {aligned} {offset} {n}',
                lambda: ops.bbox_overlaps(b[:20], b[:20].flip(0), mode, aligned, offset),
            )
    broken, s = boxes(20)
    broken[3, 1] = float('nan')
    yield 'nms nan', lambda: ops.nms(broken, s, 0.5)


def pooling(ops: Any) -> Iterator[tuple[str, Callable]]:
    x = torch.randn(2, 3, 11, 13, generator=generator(1))
    b, _ = boxes(12, 5)
    regions = dict(
        inside=b / 10,
        outside=b - 40,
        tiny=torch.cat([b[:, :2], b[:, :2] + 0.2], 1) / 8,
        none=torch.zeros(0, 4),
        whole=torch.tensor([[0.0, 0.0, 13.0, 11.0]]),
        point=b[:, [0, 1, 0, 1]] / 10,
    )
    for (kind, region), aligned, ratio, scale, dtype in itertools.product(
        regions.items(), (True, False), (0, 2), (1.0, 0.25), (torch.float32, torch.float64)
    ):
        rois = torch.cat([torch.arange(len(region))[:, None] % 2, region], 1).to(dtype)
        yield (
            f'roi_align {kind} {aligned} {ratio} {scale} {dtype}',
            lambda: with_grads(lambda x: ops.roi_align(x, rois, (3, 4), scale, ratio, 'avg', aligned), x.to(dtype)),
        )
    for kind in ('collect', 'distribute'):
        yield (
            f'psa_mask {kind}',
            lambda: with_grads(ops.PSAMask(kind, (5, 3)), torch.randn(2, 15, 4, 6, generator=generator(2))),
        )


def convolution(ops: Any) -> Iterator[tuple[str, Callable]]:
    geometries = [
        *itertools.product(((1, 1), (2, 1), (1, 2)), ((1, 1, 1), (2, 1, 1), (1, 2, 2)), (3,)),
        ((2, 2), (1, 1, 1), 1),
    ]
    for (groups, deform_groups), (stride, padding, dilation), k in geometries:
        x = torch.randn(2, 4, 6, 5, generator=generator(1))
        weight = torch.randn(6, 4 // groups, k, k, generator=generator(2))
        height, width = ((size + 2 * padding - dilation * (k - 1) - 1) // stride + 1 for size in (6, 5))
        taps = deform_groups * k * k
        offset = torch.randn(2, 2 * taps, height, width, generator=generator(3)) * 2
        mask = torch.rand(2, taps, height, width, generator=generator(4))
        bias = torch.randn(6, generator=generator(5))
        geometry = stride, padding, dilation, groups, deform_groups
        name = f'{groups} {deform_groups} {stride} {padding} {dilation} {k}'
        yield (
            f'deform {name}',
            lambda: with_grads(
                lambda x, offset, weight: ops.deform_conv2d(x, offset, weight, *geometry), x, offset, weight
            ),
        )
        yield (
            f'modulated {name}',
            lambda: with_grads(
                lambda x, offset, mask, weight, bias: ops.modulated_deform_conv2d(
                    x, offset, mask, weight, bias, *geometry
                ),
                x,
                offset,
                mask,
                weight,
                bias,
            ),
        )
    # Offsets of another level of a pyramid, as in DyHead.
    large = [torch.randn(2, channels, 8, 9, generator=generator(channels)) for channels in (18, 9)]
    yield (
        'modulated larger offsets',
        lambda: with_grads(
            lambda x, offset, mask, weight: ops.modulated_deform_conv2d(x, offset, mask, weight, None, 1, 1, 1, 1, 1),
            torch.randn(2, 4, 4, 5, generator=generator(1)),
            *large,
            torch.randn(6, 4, 3, 3, generator=generator(2)),
        ),
    )


def cases(ops: Any) -> Iterator[tuple[str, list[Tensor]]]:
    """Yield all cases by name, with their values under the module ``mmcv.ops``."""
    for part in (suppression, pooling, convolution):
        for name, call in part(ops):
            yield name, list(torch.as_tensor(value) for value in _flat(call()))


def _flat(value: Any) -> list:
    return list(value) if isinstance(value, (list, tuple)) else [value]
