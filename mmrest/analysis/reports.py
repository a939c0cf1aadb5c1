"""Figures of models and runs, each written as a picture and a JSON file of its numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

import torch

from ..apis import LoadedModel, init_model
from ..engine import UsageError
from ..utils.fileio import write_json
from .cam import measure_cam, plot_cam
from .curves import compare_curves, plot_comparison
from .diversity import measure_diversity, plot_diversity
from .fourier import NUM_FREQUENCIES, measure_fourier, plot_fourier
from .receptive_field import SHARES, measure_receptive_field, plot_receptive_fields, smallest_area

DIGITS = 6  # after the decimal point, of the numbers in JSON files


def load_models(
    given: Sequence[Sequence[str]], cfg_options: dict | None = None, device: str = 'cpu'
) -> dict[str, LoadedModel]:
    """Load models, and return them by unique names.

    Args:
        given (Sequence[Sequence[str]]): Config and checkpoint of each model; 'none' for initial weights.
        cfg_options (dict, optional): From dotted keys to values, merged into every config.
        device (str): Device of the models.

    Raises:
        UsageError: A model is given twice, or cannot be loaded.
    """
    pairs = [tuple(pair) for pair in given]
    for config, checkpoint in pairs:
        if pairs.count((config, checkpoint)) > 1:
            raise UsageError(f'{config} with {checkpoint} is given twice.')
    models: dict[str, LoadedModel] = {}
    for config, checkpoint in pairs:
        loaded = init_model(config, checkpoint, cfg_options, device)
        if loaded.name in models:  # files of the same name, or several checkpoints of a config
            loaded.name += f' ({config}, {checkpoint})'
        models[loaded.name] = loaded
    return models


def write_diversity(models: dict[str, LoadedModel], images: Sequence[Path], out_dir: str | Path) -> tuple[Path, Path]:
    """Write the similarity of the heads of each attention (ResT, Figure 5)."""
    measured = {name: measure_diversity(loaded, images) for name, loaded in models.items()}
    return (
        plot_diversity(measured, Path(out_dir) / 'diversity.png', len(images)),
        write_json(Path(out_dir) / 'diversity.json', dict(num_images=len(images), models=measured), digits=DIGITS),
    )


def write_cam(
    models: dict[str, LoadedModel],
    images: Sequence[Path],
    out_dir: str | Path,
    method: str,
    stages: Sequence[int] | None = None,
    class_name: str | None = None,
    score_thr: float = 0.3,
) -> tuple[Path, Path]:
    """Write class-activation maps (Figure 6 of ResT), with the settings of :func:`~mmrest.analysis.cam.measure_cam`."""
    records = measure_cam(list(models.values()), images, method, stages, class_name, score_thr)
    numbers = [
        {
            'image': str(record['path']),
            'class': record['class_name'],
            'models': {
                name: dict(
                    score=found.score,
                    share_inside=found.share_inside,
                    area_inside=float('nan') if found.region is None else float(found.region.mean()),
                )
                for name, found in zip(models, record['activations'])
            },
        }
        for record in records
    ]
    return (
        plot_cam(records, list(models), Path(out_dir) / 'cam.png', method),
        write_json(Path(out_dir) / 'cam.json', dict(method=method, stages=stages, images=numbers), digits=DIGITS),
    )


def write_fourier(models: dict[str, LoadedModel], images: Sequence[Path], out_dir: str | Path) -> tuple[Path, Path]:
    """Write relative log amplitudes of Fourier-transformed feature maps by depth (ResTv2)."""
    measured = {name: measure_fourier(loaded, images) for name, loaded in models.items()}
    frequencies = torch.linspace(0, 1, NUM_FREQUENCIES)
    return (
        plot_fourier(measured, Path(out_dir) / 'fourier.png', len(images)),
        write_json(
            Path(out_dir) / 'fourier.json',
            dict(num_images=len(images), frequencies_in_pi=frequencies, relative_log_amplitude=measured),
            digits=DIGITS,
        ),
    )


def write_receptive_fields(
    models: dict[str, LoadedModel], images: Sequence[Path], out_dir: str | Path, shape: tuple[int, int]
) -> tuple[Path, Path]:
    """Write the effective receptive field of each output of the backbone, of images resized to a shape (H, W)."""
    measured = {name: measure_receptive_field(loaded, images, shape) for name, loaded in models.items()}
    areas = {
        name: {
            f'output {i + 1}': {f'area of {share:.0%}': smallest_area(field, share) for share in SHARES}
            for i, field in fields.items()
        }
        for name, fields in measured.items()
    }
    return (
        plot_receptive_fields(measured, Path(out_dir) / 'erf.png', len(images)),
        write_json(Path(out_dir) / 'erf.json', dict(num_images=len(images), shape=shape, models=areas), digits=DIGITS),
    )


def write_curves(
    work_dirs: Sequence[str | Path], out_dir: str | Path, metric: str | None = None, smooth: int = 1
) -> tuple[Path, Path]:
    """Write loss, learning rate and a metric of several runs in one figure.

    Raises:
        UsageError: A folder holds no log of a run, or the runs did not log the metric.
    """
    try:
        compared = compare_curves(work_dirs, metric)
    except (FileNotFoundError, ValueError) as error:
        raise UsageError(str(error)) from error
    return (
        plot_comparison(compared, Path(out_dir) / 'curves.png', smooth),
        write_json(Path(out_dir) / 'curves.json', compared, digits=DIGITS),
    )
