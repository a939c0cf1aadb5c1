"""Effective receptive field of the outputs of a backbone (Luo et al., arXiv 1701.04128)."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..apis import LoadedModel
from ..engine import UsageError
from ..utils.figures import new_figure, save_figure
from ..utils.progress import track

# Shares of the sum over a receptive field; the areas that hold them are reported.
SHARES = (0.2, 0.5, 0.9, 0.99)


def measure_receptive_field(loaded: LoadedModel, images: Sequence[Path], shape: tuple[int, int]) -> dict[int, Tensor]:
    """Measure the dependence of the feature in the center of each output on each pixel of the image.

    The value of a pixel is the norm of the Jacobian of all channels of the feature by the colors of the pixel, as a
    root mean square over images. The norm is estimated without bias by one backward pass per image with random
    signs of the channels; their plain sum is constant after a LayerNorm.

    Args:
        loaded (LoadedModel): Model whose backbone is measured.
        images (Sequence[Path]): Image files.
        shape (tuple[int, int]): (H, W) in pixels that prepared images are resized to.

    Returns:
        dict[int, Tensor]: From the index of an output to its receptive field (H, W) in float64.

    Raises:
        UsageError: The backbone emits no feature maps, or an image cannot be read.
    """
    generator = torch.Generator().manual_seed(0)
    sums: dict[int, Tensor] = {}
    for path in track(images, f'Receptive fields of {loaded.name}'):
        inputs = F.interpolate(loaded.prepare(path)['inputs'].float(), size=shape, mode='bilinear')
        inputs.requires_grad_()
        with torch.enable_grad():
            outs = loaded.backbone(inputs)
            if not isinstance(outs, (list, tuple)):
                outs = [outs]
            for i, out in enumerate(outs):
                if out.ndim != 4:
                    raise UsageError(f'The backbone of {loaded.name} emits no feature maps.')
                feature = out[0, :, out.shape[2] // 2, out.shape[3] // 2]
                signs = torch.randint(0, 2, feature.shape, generator=generator).to(feature) * 2 - 1
                (gradient,) = torch.autograd.grad(feature @ signs, inputs, retain_graph=i + 1 < len(outs))
                sums[i] = sums.get(i, 0) + gradient[0].double().square().sum(dim=0).cpu()
    return {i: (total / len(images)).sqrt() for i, total in sums.items()}


def smallest_area(field: Tensor, share: float) -> float:
    """Return the smallest area, as a part of the image, that holds a share of the sum of a receptive field (H, W)."""
    total = field.sum()
    if total <= 0:
        return float('nan')
    cumulative = field.flatten().sort(descending=True).values.cumsum(0) / total
    return (int((cumulative < share - 1e-12).sum()) + 1) / field.numel()


def plot_receptive_fields(measured: dict[str, dict[int, Tensor]], out: str | Path, num_images: int) -> Path:
    """Plot receptive fields on a logarithmic scale down to 1/10,000 of their maximum, with a row for each model.

    Args:
        measured (dict): From the name of a model to the result of :func:`measure_receptive_field`.
        out (str | Path): Image file to write.
        num_images (int): Number of images, for the title.
    """
    columns = max(len(fields) for fields in measured.values())
    figure, axes = new_figure(len(measured), columns, width=3.1, height=3.3)
    for row, (name, fields) in zip(axes, measured.items()):
        for axis in row:
            axis.axis('off')
        for axis, (i, field) in zip(row, fields.items()):
            values = (field / field.max().clamp_min(1e-30)).clamp_min(1e-4).log10().numpy()
            shown = axis.imshow(values, vmin=-4, vmax=0, cmap='magma')
            areas = ', '.join(f'{share:.0%} in {smallest_area(field, share):.1%}' for share in SHARES[1:3])
            axis.set_title(f'output {i + 1}\n{areas} of the area', fontsize=8)
        row[0].text(-0.06, 0.5, name, rotation=90, va='center', ha='right', fontsize=8, transform=row[0].transAxes)
        bar = figure.colorbar(shown, ax=row[-1], ticks=np.arange(-4, 1))
        bar.set_label('log10 of the share of the maximum', fontsize=8)
    figure.suptitle(
        'Effective receptive fields: dependence of the feature in the center of each output on each pixel of '
        f'the image.\nImages: {num_images}',
        fontsize=9,
    )
    return save_figure(figure, out)
