"""Whether an exported file computes what the model does."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Sequence

import torch
from torch import Tensor

from ..engine import UsageError
from .targets import Target

# Height and width, one with odd sides; neither is the one that the graph was recorded with.
SHAPES = ((192, 256), (165, 229))
BATCHES = (1, 3)
# What a file may differ by: in units of an output's largest value, and of integers the share that differs.
TOLERANCE = 1e-4
LABEL_TOLERANCE = 1e-3
# Nor may it differ by more than that many times what the model itself loses in float32. Attention that is nearly
# uniform, as with initial weights, is normalised by InstanceNorm until rounding shows.
TIMES_OWN = 3


@dataclass
class Difference:
    """How far an output is off the model in float64, at worst.

    Attributes:
        file (float): Of the exported file, in units of the output's largest value; of integers the share that differs.
        model (float): Of the model itself, run in float32.
    """

    file: float = 0.0
    model: float = 0.0

    def is_rounding(self, integers: bool = False) -> bool:
        return self.file <= max(LABEL_TOLERANCE if integers else TOLERANCE, TIMES_OWN * self.model)


def compare(
    target: Target, path: str | Path, shapes: Sequence[tuple[int, int]] = SHAPES, batches: Sequence[int] = BATCHES
) -> dict[str, Difference]:
    """Run an exported file and the model it was made from, in float32 and in float64, on the same random images.

    Args:
        target (Target): The model; its own form is run, not the one that was exported.
        path (str | Path): ``.onnx``, run by onnxruntime on the CPU, or ``.pt2``, run by torch.
        shapes (Sequence[tuple[int, int]]): Heights and widths.
        batches (Sequence[int]): Numbers of images.

    Returns:
        dict[str, Difference]: Of each output.

    Raises:
        UsageError: The file gives something of another shape, or an output that is not finite.
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
                        f'{tuple(theirs.shape)} where {tuple(right.shape)} is right, or values that are not finite.'
                    )
                worst[name].file = max(worst[name].file, _difference(right, theirs))
                worst[name].model = max(worst[name].model, _difference(right, ours))
    return worst


def check(differences: dict[str, Difference], integers: Sequence[str] = ('labels', 'levels')) -> None:
    """Raise if one of the differences that :func:`compare` returns is more than rounding.

    Raises:
        UsageError: It is.
    """
    bad = {name: found for name, found in differences.items() if not found.is_rounding(name in integers)}
    if bad:
        listed = ', '.join(
            f'{name} by {found.file:.1e} (the model in float32 by {found.model:.1e})' for name, found in bad.items()
        )
        raise UsageError(
            'The exported graph does not compute what the model does. Relative to the largest value, '
            f'it is off in {listed}. Nothing was written.'
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
