"""Part 1: every implementation of the attention against float64, alone and in both backbones, outputs and gradients.

The rule: an error of at most twice that of the plain formula in the same precision on the same device.
"""

from __future__ import annotations

import functools
import itertools
import math
from copy import deepcopy

import torch
from torch import Tensor, nn

from mmrest.benchmark.numerics import NAMES, SHARPNESS, make_inputs, output_and_gradients
from mmrest.ops import emsa, emsa_reference

from .cases import Case, first_line, is_lost
from .golden import golden_cases
from .models import BACKBONES, CHECKED_IMPLS, PRECISIONS, autocast, build_own, tf32
from .results import Settings
from .special import sanitizer_case, special_cases

ALLOWED = 2.0  # times the error of the plain formula
# Heads, queries, keys, channels of a head: stages of images of 800x1344, lengths that no block divides.
SIZES = ((2, 2100, 1050, 64), (4, 4200, 263, 64), (8, 1050, 1050, 64), (2, 997, 333, 96))
DRY_SIZES = ((2, 40, 9, 8),)
DRAWS = 2  # in one, luck decides by a factor of two


def cases(settings: Settings) -> list[Case]:
    """Return the cases."""
    found = []
    # What is newest, and may end the process, comes last.
    impls = sorted(CHECKED_IMPLS, key=lambda impl: impl not in ('auto', 'direct', 'chunked'))
    for precision, impl in itertools.product(PRECISIONS, impls):
        check = functools.partial(check_attention, settings, impl, precision)
        found.append(Case(f'attention {impl} {precision}', check, limit=40))
    found += special_cases(settings, impls)
    for impl, name, precision in itertools.product(impls, BACKBONES, PRECISIONS):
        check = functools.partial(check_backbone, settings, name, impl, precision)
        found.append(Case(f'{name} {impl} {precision}', check, limit=40))
    return [*found, *golden_cases(settings), sanitizer_case(settings)]


def check_attention(settings: Settings, impl: str, precision: str) -> dict:
    """Compare an implementation with the plain formula at all sizes, flat, usual and sharp, with mixing and without."""
    rows, problems = [], []
    for size, mixing in itertools.product(DRY_SIZES if settings.dry else SIZES, (True, False)):
        for sharpness in SHARPNESS:
            where = f'{"x".join(map(str, size))} {sharpness}{"" if mixing else " no mixing"}'
            draws = []
            for seed in range(DRAWS):
                inputs, plain, exact = _formula(settings.device, precision, size, mixing, sharpness, seed)
                try:
                    with tf32(PRECISIONS[precision][1]):
                        own = output_and_gradients(functools.partial(emsa, impl=impl), inputs)
                except Exception as error:
                    if is_lost(settings.device):
                        raise
                    problems.append(f'{where}: {first_line(error)}')
                    break
                draws.append([(relative_error(a, c), relative_error(b, c)) for a, b, c in zip(own, plain, exact)])
            for name, errors in zip(NAMES, zip(*draws)):
                row = judge(*(root_mean_square([pair[i] for pair in errors]) for i in (0, 1)))
                rows.append(dict(row, where=f'{where}, {name}'))
    return summarize(rows, problems)


@functools.lru_cache(maxsize=len(SIZES) * len(SHARPNESS) * DRAWS * 2)  # all of a precision, for its implementations
def _formula(
    device: str, precision: str, size: tuple[int, ...], mixing: bool, sharpness: str, seed: int
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Return inputs and what the plain formula makes of them, in their precision and in float64."""
    dtype, uses_tf32 = PRECISIONS[precision]
    heads, queries, keys, channels = size
    inputs = make_inputs(SHARPNESS[sharpness], keys, 2, heads, queries, channels, dtype, mixing, seed)
    inputs = [_token_major(x.to(device)) for x in inputs]
    with tf32(uses_tf32):
        plain = output_and_gradients(emsa_reference, inputs)
    return inputs, plain, output_and_gradients(emsa_reference, [x.double() for x in inputs])


def _token_major(x: Tensor) -> Tensor:
    """Return queries, keys or values in the layout that linear layers give them; other tensors as they are."""
    return x.transpose(1, 2).contiguous().transpose(1, 2) if x.dim() == 4 else x


def check_backbone(settings: Settings, name: str, impl: str, precision: str) -> dict:
    """Compare a backbone's maps and gradients of parameters with those of the plain formula in its place."""
    exact = _exact(settings.device, settings.dry, name)
    plain = _plain(settings.device, settings.dry, name, precision)
    own = _walk(_backbone(settings.device, settings.dry, name, impl), settings, precision)
    rows = []
    for where in ('maps', 'gradients'):
        rows.append(dict(judge(*(distance(found[where], exact[where]) for found in (own, plain))), where=where))
    return summarize(rows, [])


@functools.cache
def _backbone(device: str, dry: bool, name: str, impl: str) -> nn.Module:
    return build_own(name, dry, impl).to(device).eval()


@functools.cache
def _exact(device: str, dry: bool, name: str) -> dict[str, list[Tensor]]:
    model = deepcopy(_backbone(device, dry, name, 'reference')).double()
    return walk(model, _images(dry).to(device).double())


@functools.cache
def _plain(device: str, dry: bool, name: str, precision: str) -> dict[str, list[Tensor]]:
    dtype, uses_tf32 = PRECISIONS[precision]
    with tf32(uses_tf32):
        return walk(_backbone(device, dry, name, 'reference'), _images(dry).to(device), dtype)


def _walk(model: nn.Module, settings: Settings, precision: str) -> dict[str, list[Tensor]]:
    dtype, uses_tf32 = PRECISIONS[precision]
    with tf32(uses_tf32):
        return walk(model, _images(settings.dry).to(settings.device), dtype)


def _images(dry: bool) -> Tensor:
    side = 64 if dry else 224
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))


def walk(model: nn.Module, images: Tensor, dtype: torch.dtype = torch.float32) -> dict[str, list[Tensor]]:
    """Return a backbone's ``maps`` and, for random gradients of these, its ``gradients`` of parameters."""
    generator = torch.Generator().manual_seed(2)
    with autocast(str(images.device), dtype):
        maps = model(images)
    grads = [0.1 * torch.randn(x.shape, generator=generator).to(x) for x in maps]
    params = [x for x in model.parameters() if x.requires_grad]
    found = torch.autograd.grad(maps, params, grads, allow_unused=True)
    return dict(maps=[x.detach() for x in maps], gradients=[x for x in found if x is not None])


def relative_error(own: Tensor, exact: Tensor) -> float:
    """Return the root mean square error in root mean squares of the exact values."""
    return ((own.double() - exact).square().mean().sqrt() / exact.square().mean().sqrt().clamp_min(1e-300)).item()


def distance(own: list[Tensor], exact: list[Tensor]) -> float:
    """Return the root mean square of the relative errors of tensors, without those that are zero but for rounding."""
    largest = max(x.norm() / x.numel() ** 0.5 for x in exact)
    return root_mean_square(
        [relative_error(a, b) for a, b in zip(own, exact) if b.norm() / b.numel() ** 0.5 > 1e-9 * largest]
    )


def root_mean_square(values: list[float]) -> float:
    """Return the root mean square of numbers."""
    return math.sqrt(sum(value**2 for value in values) / max(len(values), 1))


def judge(own: float, plain: float) -> dict:
    """Return both errors, their ratio and whether the rule holds; NaN and infinity never pass."""
    ratio = own / plain if plain else (0.0 if own == 0 else math.inf)
    return dict(error=own, plain=plain, ratio=ratio, passed=ratio <= ALLOWED)


def summarize(rows: list[dict], problems: list[str]) -> dict:
    """Return the result of a case from those of its comparisons."""
    problems = problems + [
        f'{row["where"]}: error {row["error"]:.1e}, {row["ratio"]:.2g} times that of the formula'
        for row in rows
        if not row['passed']
    ]
    if not rows:
        return dict(rows=rows, problems=problems)
    worst = max(rows, key=lambda row: math.inf if math.isnan(row['ratio']) else row['ratio'])
    summary = f'{len(rows)} errors, at most {worst["ratio"]:.2f}x of the formula ({worst["where"]})'
    return dict(rows=rows, problems=problems, summary=summary)
