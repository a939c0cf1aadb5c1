"""Comparison of an exported file with the model."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Sequence

import torch
from torch import Tensor

from ..engine import UsageError
from .targets import Target

# Heights and widths in pixels, one odd; the graph is recorded at another size.
SHAPES = ((192, 256), (165, 229))
BATCHES = (1, 3)
# Accepted differences: relative to the largest value of an output, and of integers the share that differs.
TOLERANCE = 1e-4
LABEL_TOLERANCE = 1e-3
# Also accepted is this multiple of the rounding error of the model itself in float32: InstanceNorm amplifies rounding
# where attention is almost uniform, as with initial weights.
MAX_ERROR_RATIO = 3


@dataclass
class Difference:
    """Largest differences of an output from the model in float64.

    Attributes:
        file (float): Difference of the exported file, relative to the largest value; of integers, the share of
            elements that differ.
        model (float): The same of the model itself in float32.
    """

    file: float = 0.0
    model: float = 0.0

    def is_rounding(self, integers: bool = False) -> bool:
        """Check that the difference of the file is within the tolerances."""
        return self.file <= max(LABEL_TOLERANCE if integers else TOLERANCE, MAX_ERROR_RATIO * self.model)


def compare(
    target: Target, path: str | Path, shapes: Sequence[tuple[int, int]] = SHAPES, batches: Sequence[int] = BATCHES
) -> dict[str, Difference]:
    """Compare an exported file, and the model in float32, with the model in float64 on random images.

    Args:
        target (Target): Model; its original is run, not the exportable copy.
        path (str | Path): File, ``.onnx`` for onnxruntime on the CPU or ``.pt2`` for torch.
        shapes (Sequence[tuple[int, int]]): Heights and widths of the images in pixels.
        batches (Sequence[int]): Batch sizes.

    Returns:
        dict[str, Difference]: Largest differences by output.

    Raises:
        UsageError: An output of the file has another shape, or is not finite.
    """
    run = _runner(path)
    exact = copy.deepcopy(target.original).double()
    generator = torch.Generator().manual_seed(0)
    worst = {name: Difference() for name in target.outputs}
    for shape in shapes:
        for batch in batches:
            images = torch.randn(batch, target.in_channels, *shape, generator=generator)
            with torch.no_grad():
                results = exact(images.double()), target.original(images), run(images)
            for name, right, ours, theirs in zip(target.outputs, *results):
                if right.shape != theirs.shape or not torch.isfinite(theirs).all():
                    raise UsageError(
                        f'The file is wrong at {batch} images of {shape[0]} x {shape[1]}: {name} has the shape '
                        f'{tuple(theirs.shape)} instead of {tuple(right.shape)}, or values that are not finite.'
                    )
                worst[name].file = max(worst[name].file, _difference(right, theirs))
                worst[name].model = max(worst[name].model, _difference(right, ours))
    return worst


def check_differences(differences: dict[str, Difference], integers: Sequence[str] = ('labels', 'levels')) -> None:
    """Check the differences of :func:`compare`.

    Args:
        differences (dict[str, Difference]): Differences by output.
        integers (Sequence[str]): Outputs of integers.

    Raises:
        UsageError: A difference exceeds the tolerances.
    """
    bad = {name: found for name, found in differences.items() if not found.is_rounding(name in integers)}
    if bad:
        listed = ', '.join(
            f'{name} by {found.file:.1e} (the model in float32 by {found.model:.1e})' for name, found in bad.items()
        )
        raise UsageError(
            'The exported graph differs from the model. Relative to the largest value, '
            f'it differs in {listed}. Nothing was written.'
        )


def _difference(right: Tensor, found: Tensor) -> float:
    if not right.is_floating_point():
        return float((right != found).double().mean())
    scale = float(right.abs().max())
    return float((right - found).abs().max()) / (scale or 1.0)


def _runner(path: str | Path) -> Callable[[Tensor], list[Tensor]]:
    if Path(path).suffix == '.pt2':
        module = torch.export.load(path).module()
        return lambda images: list(module(images))
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    return lambda images: [torch.from_numpy(out) for out in session.run(None, {'images': images.numpy()})]


def format_differences(differences: dict[str, Difference]) -> str:
    """Text of what :func:`compare` returns, a line for each output."""
    lines = [
        "Largest differences from the model in float64, relative to an output's largest value; in brackets the "
        "model's own in float32:"
    ]
    lines += [f'  {output}: {found.file:.1e} ({found.model:.1e})' for output, found in differences.items()]
    return '\n'.join(lines)
