"""Looking at what a data pipeline feeds: images as they are after augmentation, with their annotations."""
from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope

from ..analysis.subject import with_progress
from ..datasets.validation import dataset_errors, validate_dataset, with_coco_checks
from ..engine import UsageError, base_datasets, check_data
from .files import save_picture
from .painting import _font
from .samples import draw_sample

PHASES = ('train', 'val', 'test')
MOST_ON_SHEET = 36


def browse_dataset(cfg: Config, phase: str = 'train', number: int = 16, out_dir: str | Path = 'work_dirs/browse',
                   show: bool = False) -> list[Path]:
    """Draw samples of a dataset as its pipeline gives them, evenly spread over it.

    What a model's data preprocessor does after that is not in the pictures: normalisation, padding, and
    augmentations of whole batches such as Mixup.

    Args:
        cfg (Config): From :func:`mmrest.engine.load_config`, of mmdet, mmseg or mmpretrain.
        phase (str): 'train', 'val' or 'test'.
        number (int): How many.
        out_dir (str | Path): Gets a picture of each, and ``contact_sheet.png`` with up to 36 of them.
        show (bool): Show each in a window until a key is pressed; q and escape end the showing.

    Returns:
        list[Path]: The contact sheet and the pictures.

    Raises:
        UsageError: There is no such phase in the config, data are missing, or the samples hold nothing to draw.
    """
    if number < 1:
        raise UsageError('--number must be 1 or more.')
    has_display = not sys.platform.startswith('linux') or {'DISPLAY', 'WAYLAND_DISPLAY'} & set(os.environ)
    if show and not has_display:
        raise UsageError('--show needs a display, and there is none here; the pictures in --out-dir can be looked at '
                         'without.')
    dataset = build_dataset(cfg, phase)
    indices = np.unique(np.linspace(0, len(dataset) - 1, min(number, len(dataset))).round().astype(int))
    out_dir = Path(out_dir)
    files, tiles = [], []
    for i in with_progress(indices.tolist(), f'Drawing {len(indices)} of {len(dataset)} samples ({phase})'):
        picture, name = draw_item(dataset[i], dataset.metainfo)
        files.append(save_picture(picture, out_dir / f'{i:06d}_{Path(name).stem}.png'))
        if len(tiles) < MOST_ON_SHEET:
            tiles.append((picture, f'{i}: {name}'))
        if show:
            show = _show(picture, f'{i}: {name}')
    return [save_picture(contact_sheet(tiles), out_dir / 'contact_sheet.png'), *files]


def build_dataset(cfg: Config, phase: str) -> Any:
    """The dataset of a phase, complete with its pipeline.

    Raises:
        UsageError: The config has none, or its data are missing.
        DataError: It is empty, or a file cannot be used.
    """
    loader = cfg.get(f'{phase}_dataloader')
    if not loader or not loader.get('dataset'):
        there = [name for name in PHASES if cfg.get(f'{name}_dataloader')]
        raise UsageError(f'This config has no dataset for {phase}: it has {", ".join(there) or "none at all"}.')
    check_data(cfg, (phase, ))
    init_default_scope(cfg.get('default_scope') or 'mmengine')
    with dataset_errors(list(base_datasets(loader))):
        dataset = DATASETS.build(with_coco_checks(loader.dataset))
        if hasattr(dataset, 'full_init'):  # with lazy_init=True it has loaded nothing yet
            dataset.full_init()
    validate_dataset(dataset)
    return dataset


def draw_item(item: Any, metainfo: dict[str, Any]) -> tuple[np.ndarray, str]:
    """A sample of a dataset as a picture, RGB, and the name of its image.

    Raises:
        UsageError: It is not of a form that can be drawn.
    """
    inputs, sample = item.get('inputs'), item.get('data_samples')
    if getattr(inputs, 'ndim', 0) != 3 or inputs.shape[0] not in (1, 3) or sample is None:
        raise UsageError('The pipeline gives no single image with annotations: inputs and data_samples are needed, as '
                         'the Pack...Inputs of mmdet, mmseg and mmpretrain make them.')
    name = Path(sample.metainfo.get('img_path') or 'image').name
    try:
        return draw_sample(_as_picture(inputs), sample, metainfo.get('classes') or (), metainfo.get('palette'),
                           truth=True), name
    except ValueError as error:
        raise UsageError(f'The annotations of {name} cannot be drawn: {error}.') from error


def _as_picture(inputs: Any) -> np.ndarray:
    """(C, H, W) as the pipeline gives it to (H, W, 3) uint8."""
    image = inputs.permute(1, 2, 0).numpy()
    if image.dtype != np.uint8:
        if image.min() < 0 or image.max() > 255:  # normalised in the pipeline: no telling by what
            image = (image - image.min()) / max(float(np.ptp(image)), 1e-6) * 255
        image = np.rint(image).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)))


def contact_sheet(tiles: list[tuple[np.ndarray, str]], width: int = 360) -> np.ndarray:
    """Pictures beside and below each other, each with a line of text under it."""
    import cv2
    from PIL import Image, ImageDraw
    columns = min(4, len(tiles))
    scaled = []
    for picture, _ in tiles:
        factor = width / max(picture.shape[:2])
        shape = (max(round(picture.shape[1] * factor), 1), max(round(picture.shape[0] * factor), 1))
        scaled.append(cv2.resize(picture, shape, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC))
    rows = [range(start, min(start + columns, len(tiles))) for start in range(0, len(tiles), columns)]
    heights = [max(scaled[i].shape[0] for i in row) + 26 for row in rows]
    sheet = Image.new('RGB', (columns * (width + 8) + 8, sum(heights) + 8), 'white')
    draw = ImageDraw.Draw(sheet)
    y = 8
    for row, height in zip(rows, heights):
        for column, i in enumerate(row):
            x = 8 + column * (width + 8)
            sheet.paste(Image.fromarray(scaled[i]), (x, y))
            draw.text((x, y + scaled[i].shape[0] + 3), tiles[i][1][:48], fill=(40, 40, 40), font=_font(13))
        y += height
    return np.asarray(sheet)


def _show(picture: np.ndarray, title: str) -> bool:
    """Show a picture until a key is pressed; whether to go on showing."""
    import cv2
    cv2.namedWindow('mmrest', cv2.WINDOW_NORMAL)
    cv2.setWindowTitle('mmrest', title)
    cv2.imshow('mmrest', np.ascontiguousarray(picture[..., ::-1]))
    if cv2.waitKey(0) & 0xFF in (ord('q'), 27):
        cv2.destroyAllWindows()
        return False
    return True
