"""Whether an exported file computes what the model does."""
from __future__ import annotations

from pathlib import Path
from typing import Callable, Sequence

import torch
from torch import Tensor

from ..engine import UsageError
from .targets import Target

# Height and width, one with odd sides; neither is the one that the graph was recorded with.
SHAPES = ((192, 256), (165, 229))
BATCHES = (1, 3)
# Largest difference in units of an output's largest value; of integers, the share that differs.
TOLERANCE = 1e-4
LABEL_TOLERANCE = 1e-3


def compare(target: Target, path: str | Path, shapes: Sequence[tuple[int, int]] = SHAPES,
            batches: Sequence[int] = BATCHES) -> dict[str, float]:
    """Run an exported file and the model it was made from on the same random images.

    Args:
        target (Target): The model; its own form is run, not the one that was exported.
        path (str | Path): ``.onnx``, run by onnxruntime on the CPU, or ``.pt2``, run by torch.
        shapes (Sequence[tuple[int, int]]): Heights and widths.
        batches (Sequence[int]): Numbers of images.

    Returns:
        dict[str, float]: Of each output the largest difference in units of its largest value, or, where it holds
            integers, the share of values that differ.

    Raises:
        UsageError: The file gives something of another shape, or an output that is not finite.
    """
    run = _runner(path)
    generator = torch.Generator().manual_seed(0)
    worst = dict.fromkeys(target.outputs, 0.0)
    for shape in shapes:
        for batch in batches:
            images = torch.randn(batch, target.in_channels, *shape, generator=generator)
            with torch.no_grad():
                expected = target.original(images)
                found = run(images)
            for name, ours, theirs in zip(target.outputs, expected, found):
                if ours.shape != theirs.shape or not torch.isfinite(theirs).all():
                    raise UsageError(
                        f'The file is wrong at {batch} images of {shape[0]} x {shape[1]}: {name} has the shape '
                        f'{tuple(theirs.shape)} where {tuple(ours.shape)} is right, or values that are not finite.')
                worst[name] = max(worst[name], _difference(ours, theirs))
    return worst


def check(differences: dict[str, float], integers: Sequence[str] = ('labels', 'levels')) -> None:
    """Raise if one of the differences that :func:`compare` returns is more than rounding.

    Raises:
        UsageError: It is.
    """
    bad = {name: value for name, value in differences.items()
           if value > (LABEL_TOLERANCE if name in integers else TOLERANCE)}
    if bad:
        listed = ', '.join(f'{name} by {value:.1e}' for name, value in bad.items())
        raise UsageError(f'The exported graph does not compute what the model does: it is off in {listed} (relative to '
                         f'the largest value; at most {TOLERANCE:g} is rounding). Nothing was written.')


def _difference(ours: Tensor, theirs: Tensor) -> float:
    if not ours.is_floating_point():
        return float((ours != theirs).double().mean())
    scale = float(ours.abs().max())
    return float((ours - theirs).abs().max()) / (scale or 1.0)


def _runner(path: str | Path) -> Callable[[Tensor], list[Tensor]]:
    if Path(path).suffix == '.pt2':
        module = torch.export.load(path).module()
        return lambda images: list(module(images))
    import onnxruntime
    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    return lambda images: [torch.from_numpy(out) for out in session.run(None, {'images': images.numpy()})]
