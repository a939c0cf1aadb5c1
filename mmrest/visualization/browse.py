"""Drawings of the samples of a dataset after its pipeline, with augmentations and annotations.

The browse_dataset tools of mmdet, mmseg and mmpretrain are not part of their packages' modules, draw the samples of one
library each, stop at the first damaged file, and name pictures by the image alone, so that pictures of images with the
same name in different folders overwrite each other.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from mmengine.visualization import Visualizer

from ..datasets.validation import DataError, dataset_errors, validate_dataset, with_coco_checks
from ..engine import UsageError, base_datasets, check_data
from ..utils.progress import track
from .files import PaintResult, save_picture
from .samples import draw_sample
from .sheet import contact_sheet

PHASES = ('train', 'val', 'test')
MAX_ON_SHEET = 36


def browse_dataset(
    cfg: Config,
    phase: str = 'train',
    num_samples: int = 16,
    out_dir: str | Path = 'work_dirs/browse',
    show: bool = False,
) -> PaintResult:
    """Draw evenly spaced samples of a dataset after its pipeline.

    The pictures do not show the work of the data preprocessor: normalization, padding, and augmentations of batches
    such as Mixup.

    Args:
        cfg (Config): Config of mmdet, mmseg or mmpretrain, from :func:`mmrest.engine.load_config`.
        phase (str): 'train', 'val' or 'test'.
        num_samples (int): Number of samples, 1 or more.
        out_dir (str | Path): Folder for a picture of each sample and ``contact_sheet.png`` with up to 36 of them.
        show (bool): Show each picture in a window until the space bar is pressed.

    Returns:
        PaintResult: The contact sheet and the pictures, and the samples on which the pipeline failed.

    Raises:
        UsageError: The config has no such phase, data are missing, or no sample can be drawn.
    """
    if num_samples < 1:
        raise UsageError('num_samples must be 1 or more.')
    has_display = not sys.platform.startswith('linux') or {'DISPLAY', 'WAYLAND_DISPLAY'} & set(os.environ)
    if show and not has_display:
        raise UsageError(
            '--show needs a display, and there is none. The pictures in --out-dir are written without --show, too.'
        )
    dataset = build_dataset(cfg, phase)
    _warn_of_other_classes(dataset)
    indices = np.unique(np.linspace(0, len(dataset) - 1, min(num_samples, len(dataset))).round().astype(int))
    out_dir = Path(out_dir)
    result, tiles = PaintResult(), []
    print(f'Drawing {len(indices)} of {len(dataset)} samples ({phase})')
    for i in track(indices.tolist(), 'drawing', 'samples'):
        try:
            picture, name = draw_item(dataset[i], find_part(dataset, i).metainfo)
        except (DataError, RuntimeError, UsageError) as error:  # one damaged file does not stop the others
            result.skipped.append(str(error))
            continue
        # 60 characters of up to four bytes fit into a file name on every file system.
        result.files.append(save_picture(picture, out_dir / f'{i:06d}_{Path(name).stem[:60]}.png'))
        if len(tiles) < MAX_ON_SHEET:
            tiles.append((picture, f'{i}: {name}'))
        if show:
            Visualizer().show(picture, f'{i}: {name}')
    if not tiles:
        raise UsageError(f'None of the {len(indices)} samples can be drawn. {result.skipped[0]}')
    result.files.insert(0, save_picture(contact_sheet(tiles), out_dir / 'contact_sheet.png'))
    return result


def build_dataset(cfg: Config, phase: str) -> Any:
    """Build the dataset of a phase with its pipeline.

    Raises:
        UsageError: The config has no such dataset, data are missing, or the dataset refuses an argument.
        DataError: The dataset is empty, or a file cannot be used.
    """
    loader = cfg.get(f'{phase}_dataloader')
    if not loader or not loader.get('dataset'):
        there = [name for name in PHASES if cfg.get(f'{name}_dataloader')]
        raise UsageError(f'This config has no dataset for {phase}: it has {", ".join(there) or "none at all"}.')
    check_data(cfg, (phase,))
    init_default_scope(cfg.get('default_scope') or 'mmengine')
    try:
        with dataset_errors(list(base_datasets(loader))):
            dataset = DATASETS.build(with_coco_checks(loader.dataset))
            if hasattr(dataset, 'full_init'):  # not called yet with lazy_init=True
                dataset.full_init()
    except (AssertionError, ImportError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f'The dataset for {phase} cannot be built: {error}') from error
    validate_dataset(dataset)
    return dataset


def find_part(dataset: Any, index: int) -> Any:
    """Return the dataset inside wrappers that a sample comes from, whose metainfo names the classes of its labels."""
    while True:
        find = getattr(
            dataset, '_get_ori_dataset_idx', None
        )  # wrappers that mix images do not have it and keep the index
        index = find(index) if find else index
        if hasattr(dataset, 'datasets'):
            part, index = index
            dataset = dataset.datasets[part]
        elif hasattr(dataset, 'dataset'):
            dataset = dataset.dataset
        else:
            return dataset


def _warn_of_other_classes(dataset: Any) -> None:
    """Print a warning if parts of a dataset have different classes, as training compares labels by number."""
    parts, found = [dataset], []
    while parts:
        part = parts.pop(0)
        inner = getattr(part, 'datasets', None) or [one for one in [getattr(part, 'dataset', None)] if one is not None]
        parts += inner
        if not inner and part.metainfo.get('classes') not in found:
            found.append(part.metainfo.get('classes'))
    if len(found) > 1:
        print(
            'Warning: the parts of this dataset number their classes differently, and a model takes equal numbers '
            f'for one class: {" / ".join(map(str, found))}. Give all of them the same metainfo.classes.'
        )


def draw_item(item: Any, metainfo: dict[str, Any]) -> tuple[np.ndarray, str]:
    """Draw a sample of a dataset.

    Args:
        item (dict): With ``inputs`` (C, H, W) and ``data_samples``, as the Pack...Inputs transforms make it.
        metainfo (dict): Of the dataset, with ``classes`` and ``palette``.

    Returns:
        tuple[np.ndarray, str]: Picture (H, W, 3) uint8 in RGB, and the name of the image.

    Raises:
        UsageError: The sample has another form, or nothing to draw.
    """
    inputs, sample = item.get('inputs'), item.get('data_samples')
    if getattr(inputs, 'ndim', 0) != 3 or sample is None:
        raise UsageError(
            'The pipeline gives no single image with annotations: inputs and data_samples are needed, as '
            'the Pack...Inputs of mmdet, mmseg and mmpretrain make them.'
        )
    name = Path(sample.metainfo.get('img_path') or 'image').name
    try:
        return draw_sample(
            inputs.permute(1, 2, 0).numpy(), sample, metainfo.get('classes') or (), metainfo.get('palette'), truth=True
        ), name
    except ValueError as error:
        raise UsageError(f'The annotations of {name} cannot be drawn: {error}.') from error
