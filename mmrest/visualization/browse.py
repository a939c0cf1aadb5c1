"""Samples of a dataset as its pipeline feeds them: images after augmentation, with their annotations."""

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
from .files import Painted, save_picture
from .painting import _font
from .samples import draw_sample

PHASES = ('train', 'val', 'test')
MAX_ON_SHEET = 36


def browse_dataset(
    cfg: Config,
    phase: str = 'train',
    num_samples: int = 16,
    out_dir: str | Path = 'work_dirs/browse',
    show: bool = False,
) -> Painted:
    """Draw samples of a dataset as its pipeline gives them, evenly spread over it.

    What a model's data preprocessor does after that is not in the pictures: normalization, padding, and
    augmentations of whole batches such as Mixup.

    Args:
        cfg (Config): From :func:`mmrest.engine.load_config`, of mmdet, mmseg or mmpretrain.
        phase (str): 'train', 'val' or 'test'.
        num_samples (int): Number of samples to draw, 1 or more.
        out_dir (str | Path): Gets a picture of each, and ``contact_sheet.png`` with up to 36 of them.
        show (bool): Show each in a window until the space bar is pressed.

    Returns:
        Painted: The contact sheet and the pictures, and the samples at which the pipeline failed.

    Raises:
        UsageError: There is no such phase in the config, data are missing, or no sample can be drawn.
    """
    if num_samples < 1:
        raise UsageError('num_samples must be 1 or more.')
    has_display = not sys.platform.startswith('linux') or {'DISPLAY', 'WAYLAND_DISPLAY'} & set(os.environ)
    if show and not has_display:
        raise UsageError(
            '--show needs a display, and there is none here; the pictures in --out-dir can be looked at without.'
        )
    dataset = build_dataset(cfg, phase)
    _warn_of_other_classes(dataset)
    indices = np.unique(np.linspace(0, len(dataset) - 1, min(num_samples, len(dataset))).round().astype(int))
    out_dir = Path(out_dir)
    painted, tiles = Painted(), []
    print(f'Drawing {len(indices)} of {len(dataset)} samples ({phase})')
    for i in track(indices.tolist(), 'drawing', 'samples'):
        try:
            picture, name = draw_item(dataset[i], find_part(dataset, i).metainfo)
        except (DataError, RuntimeError, UsageError) as error:  # of this image; the others are drawn
            painted.skipped.append(str(error))
            continue
        # An index and 60 characters, of up to four bytes each, are a name that every file system takes.
        painted.files.append(save_picture(picture, out_dir / f'{i:06d}_{Path(name).stem[:60]}.png'))
        if len(tiles) < MAX_ON_SHEET:
            tiles.append((picture, f'{i}: {name}'))
        if show:
            Visualizer().show(picture, f'{i}: {name}')
    if not tiles:
        raise UsageError(f'None of the {len(indices)} samples can be drawn. {painted.skipped[0]}')
    painted.files.insert(0, save_picture(contact_sheet(tiles), out_dir / 'contact_sheet.png'))
    return painted


def build_dataset(cfg: Config, phase: str) -> Any:
    """Build the dataset of a phase, complete with its pipeline.

    Raises:
        UsageError: The config has none, its data are missing, or it does not take its arguments.
        DataError: It is empty, or a file cannot be used.
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
            if hasattr(dataset, 'full_init'):  # with lazy_init=True it has loaded nothing yet
                dataset.full_init()
    except (AssertionError, ImportError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f'The dataset for {phase} cannot be built: {error}') from error
    validate_dataset(dataset)
    return dataset


def find_part(dataset: Any, index: int) -> Any:
    """Return the dataset inside wrappers that a sample comes from; its classes say what the labels mean."""
    while True:
        find = getattr(dataset, '_get_ori_dataset_idx', None)  # wrappers that mix images have none and keep the index
        index = find(index) if find else index
        if hasattr(dataset, 'datasets'):
            part, index = index
            dataset = dataset.datasets[part]
        elif hasattr(dataset, 'dataset'):
            dataset = dataset.dataset
        else:
            return dataset


def _warn_of_other_classes(dataset: Any) -> None:
    """Say that parts of a dataset name their labels in different ways, which training takes for the same classes."""
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
    """Return a sample of a dataset as a picture, RGB, and the name of its image.

    Raises:
        UsageError: It is not of a form that can be drawn.
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


def contact_sheet(tiles: list[tuple[np.ndarray, str]], width: int = 360) -> np.ndarray:
    """Return pictures beside and below each other, each with a line of text under it."""
    from PIL import Image, ImageDraw

    columns = min(4, len(tiles))
    scaled = []
    for picture, _ in tiles:
        factor = width / max(picture.shape[:2])
        shape = (max(round(picture.shape[1] * factor), 1), max(round(picture.shape[0] * factor), 1))
        scaled.append(Image.fromarray(picture).resize(shape))
    rows = [range(start, min(start + columns, len(tiles))) for start in range(0, len(tiles), columns)]
    heights = [max(scaled[i].height for i in row) + 26 for row in rows]
    sheet = Image.new('RGB', (columns * (width + 8) + 8, sum(heights) + 8), 'white')
    draw = ImageDraw.Draw(sheet)
    y = 8
    for row, height in zip(rows, heights):
        for column, i in enumerate(row):
            x = 8 + column * (width + 8)
            sheet.paste(scaled[i], (x, y))
            # A name of more than one line would lie on the next picture.
            draw.text(
                (x, y + scaled[i].height + 3), ' '.join(tiles[i][1].split())[:48], fill=(40, 40, 40), font=_font(13)
            )
        y += height
    return np.asarray(sheet)
