"""Part 4: the largest image whose training step fits, by implementation of the attention."""

from __future__ import annotations

import functools
import gc
import time
from typing import Callable

import torch

from mmrest.benchmark.baselines import BASELINES

from .cases import Case
from .models import MEASURED_IMPLS, autocast, build_own
from .results import Settings

BACKBONE = 'rest-small'
MEMORY_GB = 24.0  # of a common card: what a larger one has more is not used
STRIDE, ASPECT = 32, 0.6  # sides are multiples of the one, and have the other as their ratio
START, LARGEST = 0.5e6, 200e6  # pixels
TOLERANCE = 0.1  # of the pixels
CASE_SECONDS = 5.0


def cases(settings: Settings) -> list[Case]:
    """Return a case for each form, and one with all that saves memory."""
    forms = {form: {} for form in (*BASELINES, *MEASURED_IMPLS)}
    forms['auto, with_cp, ffn_recompute'] = dict(with_cp=True, ffn_recompute=True)
    return [
        Case(
            f'{BACKBONE} {name}',
            functools.partial(find_largest, settings, name.partition(',')[0], options),
            seconds=4,
            limit=40,
        )
        for name, options in forms.items()
    ]


def find_largest(settings: Settings, form: str, options: dict) -> dict:
    """Find the largest image whose training step in bfloat16 fits, one image at a time."""
    model = build_own(BACKBONE, settings.dry, form, **options).to(settings.device).train()
    start, largest, memory = START, LARGEST, MEMORY_GB
    if settings.on_gpu:
        whole = torch.cuda.get_device_properties(settings.device).total_memory
        memory = min(memory, whole / 1e9)
        torch.cuda.set_per_process_memory_fraction(memory * 1e9 / whole, settings.device)
    if settings.dry:
        start, largest = 64 * 64, 128 * 128

    def fits(pixels: float) -> bool:
        try:
            train_once(settings, model, pixels)
            return True
        except torch.OutOfMemoryError:
            return False
        finally:
            model.zero_grad(set_to_none=True)
            if settings.on_gpu:
                gc.collect()
                torch.cuda.empty_cache()

    found, whole_search = search(fits, start, largest, time.monotonic() + CASE_SECONDS)
    if not found:
        return dict(problems=[f'not even {START / 1e6:g} megapixels fit'])
    height, width = sides(found)
    text = f'{"" if whole_search else "at least "}{height}x{width}, {height * width / 1e6:.2f} megapixels'
    where = f'{memory:.0f} GB' if settings.on_gpu else 'a dry run, where all fits'
    return dict(height=height, width=width, exact=whole_search, summary=f'{text}, in {where}')


def train_once(settings: Settings, model: torch.nn.Module, pixels: float) -> None:
    """Run a forward and a backward pass of one image."""
    images = torch.rand(1, 3, *sides(pixels), device=settings.device)
    with autocast(settings.device, torch.bfloat16):
        maps = model(images)
    sum(x.sum(dtype=torch.float32) for x in maps).backward()
    if settings.on_gpu:
        torch.cuda.synchronize(settings.device)


def sides(pixels: float) -> tuple[int, int]:
    """Return height and width of an image with about so many pixels."""
    height = max(round((pixels * ASPECT) ** 0.5 / STRIDE), 1) * STRIDE
    return height, max(round(pixels / height / STRIDE), 1) * STRIDE


def search(
    fits: Callable[[float], bool], start: float, largest: float, deadline: float, tolerance: float = TOLERANCE
) -> tuple[float, bool]:
    """Find the largest number of pixels that fits: double it until one does not, then halve the interval.

    Args:
        fits (Callable): Tells whether a number does.
        start (float): The first to try.
        largest (float): The last one.
        deadline (float): As ``time.monotonic()`` gives it; then what is known by then is returned.
        tolerance (float): Of the result, as a share.

    Returns:
        tuple[float, bool]: The largest that is known to fit, 0 if none, and whether that is within the tolerance.
    """
    good, bad, pixels = 0.0, None, start
    while bad is None or bad / max(good, 1.0) > 1 + tolerance:
        if good and time.monotonic() > deadline:
            return good, False
        if fits(pixels):
            good = pixels
            if bad is None and good >= largest:
                return good, False
        elif pixels <= start:
            return 0.0, True
        else:
            bad = pixels
        pixels = min(2 * good, largest) if bad is None else (good * bad) ** 0.5
    return good, True
