"""Looking at every file of a data set ahead of training."""
from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope

from .coco import check_coco, read_json
from .faults import DataError, Report
from .guard import data_errors, dataset_class, known_classes
from .images import IMAGE_SUFFIXES, ImageFacts, decode, find_other_suffixes, png_depth
from .validation import find_wrong_heads

# Called with what is looked at, how many were, and how many there are.
Progress = Callable[[str, int, int], None]

# Modes of Pillow that OpenCV makes three channels of 8 bits from.
_CONVERTED = dict.fromkeys(('L', '1'), 'grayscale image (read as gray colours)')
_CONVERTED.update(dict.fromkeys(('RGBA', 'LA', 'PA', 'RGBa', 'La'), 'image with transparency (left out)'))
_CONVERTED.update(dict.fromkeys(('I', 'F', 'I;16', 'I;16B', 'I;16L'), 'image of 16 bits (brought down to 8)'))
_CONVERTED.update(CMYK='CMYK image (converted to RGB)')


def check_coco_files(ann_file: str | Path, folder: str | Path, report: Report, classes: Sequence[str] | None = None,
                     masks: bool = True, progress: Progress | None = None, evaluated: bool = True) -> None:
    """Check COCO annotations and the images that they name.

    Args:
        ann_file (str | Path): JSON file.
        folder (str | Path): Of the images.
        report (Report): Gets what is found.
        classes (sequence[str], optional): Names of the classes that the dataset is to have.
        masks (bool): Segmentations are used.
        progress (callable, optional): See :data:`Progress`.
        evaluated (bool): As in :func:`check_coco`.
    """
    try:
        content = read_json(ann_file)
    except DataError as error:
        report.error('annotation file cannot be read', str(ann_file), str(error))
        return
    check_coco(content, ann_file, report, classes, masks, evaluated)
    images = content.get('images') if isinstance(content, dict) else None
    entries = [image for image in images if isinstance(image, dict) and isinstance(image.get('file_name'), str)
               and '\0' not in image['file_name']] if isinstance(images, list) else []
    files = [Path(folder) / entry['file_name'] for entry in entries]
    for entry, path, facts in zip(entries, files, _check_images(files, report, progress)):
        stated = entry.get('width'), entry.get('height')
        if facts is not None and stated != (facts.width, facts.height):
            report.error('image size differs from the annotations', str(path),
                         f'{facts.width}x{facts.height}, annotated as {stated[0]}x{stated[1]}')


def _check_images(files: Sequence[Path], report: Report, progress: Progress | None) -> Iterable[ImageFacts | None]:
    """Decode images; notes which cannot be, and which are converted when they are read."""
    for path, (facts, fault) in zip(files, _decode_all(files, 'images', report, progress)):
        if fault:
            report.error('image is missing' if fault == 'is missing' else 'image cannot be read', str(path), fault)
        else:
            kind = _CONVERTED.get(facts.mode) or (_CONVERTED['I'] if png_depth(path) > 8 else None)
            if kind:
                report.warn(kind, str(path))
        yield facts


def _decode_all(files: Sequence[Path], what: str, report: Report, progress: Progress | None,
                function: Callable = decode) -> Iterable[Any]:
    """A function's results for files, in their order; Pillow lets threads decode side by side."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for number, result in enumerate(pool.map(function, files), 1):
            report.count(f'{what} read')
            if progress:
                progress(what, number, len(files))
            yield result


def check_label_maps(pairs: Sequence[tuple[Path, Path]], num_classes: int, report: Report, ignore_index: int = 255,
                     reduce_zero_label: bool = False, label_map: dict[int, int] | None = None,
                     progress: Progress | None = None) -> None:
    """Check images and their label maps.

    Args:
        pairs (sequence[tuple[Path, Path]]): Image and label map.
        num_classes (int): Labels go from 0 to ``num_classes - 1``.
        report (Report): Gets what is found.
        ignore_index (int): The value of pixels to ignore.
        reduce_zero_label (bool): 0 is to be ignored, and 1 is the first class, as in ADE20K.
        label_map (dict[int, int], optional): What labels are replaced by.
        progress (callable, optional): See :data:`Progress`.
    """
    sizes = [facts and (facts.width, facts.height) for facts in
             _check_images([image for image, _ in pairs], report, progress)]
    maps = [path for _, path in pairs]
    for path, size, (values, found, fault) in zip(maps, sizes, _decode_all(maps, 'label maps', report, progress,
                                                                           _read_label_map)):
        if fault:
            report.error('label map is missing' if fault == 'is missing' else 'label map cannot be read', str(path),
                         fault)
            continue
        if values is None:
            report.error('label map with several channels', str(path), 'one is needed, with the number of the class')
            continue
        if size is not None and found != size:
            report.error('label map of another size than its image', str(path),
                         f'{found[0]}x{found[1]}, image {size[0]}x{size[1]}')
        wrong = [value for value in values if value > 255]
        values = [value for value in values if value <= 255]
        if reduce_zero_label:
            values = [255 if value in (0, 255) else value - 1 for value in values]
        values = [(label_map or {}).get(value, value) for value in values]
        wrong += [value for value in values if value != ignore_index and not 0 <= value < num_classes]
        if wrong:
            report.error('label map with values that are no class', str(path),
                         f'{", ".join(map(str, wrong[:10]))}; there are {num_classes} classes')
        elif all(value == ignore_index for value in values):
            report.warn('label map without any class (ignored)', str(path))


def _read_label_map(path: Path) -> tuple[list[int] | None, tuple[int, int], str | None]:
    """Its values (None if it has several channels), its size in px, and what is wrong with the file."""
    facts, fault = decode(path)
    if fault:
        return None, (0, 0), fault
    from PIL import Image
    with Image.open(path) as image:
        labels = np.asarray(image)
    size = image.size  # as it is stored: label maps are not turned
    return (np.unique(labels).astype(int).tolist() if labels.ndim == 2 else None), size, None


def pair_label_maps(images: str | Path, maps: str | Path, report: Report) -> list[tuple[Path, Path]]:
    """Images of a folder with the label maps of the same names; notes maps without an image."""
    def listed(folder: Path) -> dict[Path, Path]:
        return {path.relative_to(folder).with_suffix(''): path for path in sorted(folder.rglob('*'))
                if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES}

    images, maps = Path(images), Path(maps)
    found, labels = listed(images), listed(maps)
    for name in labels.keys() - found.keys():
        report.warn('label map without an image (left out)', str(labels[name]))
    return [(path, labels.get(name, maps / f'{name}.png')) for name, path in found.items()]


def check_config(cfg: Config, configs: Iterable[dict], report: Report, progress: Progress | None = None) -> None:
    """Check the datasets of a config.

    Args:
        cfg (Config): For its ``default_scope``.
        configs (iterable[dict]): Those of its datasets that are to be looked at.
        report (Report): Gets what is found.
        progress (callable, optional): See :data:`Progress`.
    """
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    configs = list(configs)
    for wrong in find_wrong_heads(cfg.get('model'), configs):
        report.error('head with another number of classes', wrong)
    done = []
    for config in configs:
        config = deepcopy(dict(config))
        masks = any(step.get('with_mask') for step in config.pop('pipeline', []))
        if (config, masks) in done:
            continue  # what is tested is most often what is validated with
        done.append((deepcopy(config), masks))
        kind = dataset_class(config)
        if getattr(getattr(kind, 'COCOAPI', None), '__name__', '') == 'COCO':
            root = Path(config.get('data_root') or '')
            check_coco_files(root / config['ann_file'], root / (config.get('data_prefix') or {}).get('img', ''),
                             report, known_classes(config), masks, progress, bool(config.get('test_mode')))
            continue
        where = f'{config["type"]} in {config.get("data_root") or config.get("data_prefix")}'
        try:
            with data_errors([config]):
                dataset = DATASETS.build(dict(config, pipeline=[]))
                dataset.full_init()
            samples = [dataset.get_data_info(index) for index in range(len(dataset))]
        except DataError as error:
            report.error('data set without images', where, str(error))
            continue
        except Exception as error:  # whatever a class of another library stumbles over
            report.error('data set cannot be read', where, f'{type(error).__name__}: {error}')
            continue
        if not samples:
            report.error('data set without images', where)
        for path in find_other_suffixes(dataset):
            report.warn(f'image whose name does not end with {dataset.img_suffix} (left out)', str(path))
        paths = [sample.get('img_path') for sample in samples]
        if not all(isinstance(path, str) for path in paths):
            report.warn('data set of a kind that is not known (only built)', where)
        elif hasattr(dataset, 'reduce_zero_label') and dataset.metainfo.get('classes'):
            pairs = [(Path(sample['img_path']), Path(sample.get('seg_map_path', ''))) for sample in samples]
            check_label_maps(pairs, len(dataset.metainfo['classes']), report, dataset.ignore_index,
                             dataset.reduce_zero_label, dataset.label_map, progress)
        else:
            for _ in _check_images([Path(path) for path in paths], report, progress):
                pass
