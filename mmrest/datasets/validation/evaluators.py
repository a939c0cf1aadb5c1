"""Consistency of evaluator annotations with the datasets."""

from __future__ import annotations

import filecmp
import os
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from mmengine.config import Config

from .configs import nested_datasets, nested_metrics
from .reading import read_json
from .report import DataError


def find_wrong_evaluators(cfg: Config, phases: Iterable[str]) -> list[str]:
    """Return an error for each evaluator whose annotations are for other images than its dataset.

    Different files with the same images, by id and name, are accepted. Files are read only if their paths differ.

    Args:
        cfg (Config): Full config.
        phases (iterable[str]): Subset of 'train', 'val' and 'test' to check.
    """
    found = []
    for phase in phases:
        datasets = [config for config, _ in nested_datasets(cfg.get(f'{phase}_dataloader'))]
        files = [path for path in map(_annotations, datasets) if path]
        evaluator = cfg.get(f'{phase}_evaluator')
        if not files or len(files) != len(datasets):
            continue
        is_split = isinstance(evaluator, dict) and 'MultiDatasets' in str(evaluator.get('type'))
        for metric in nested_metrics(evaluator):
            given = metric.get('ann_file')
            if not _is_local_json(given) or metric.get('backend_args') or not Path(given).is_file():
                continue
            groups = [[file] for file in files] if is_split else [files]
            if not any(_same_images(given, group) for group in groups):
                found.append(
                    f'{phase}_evaluator ({metric.get("type")}) compares with {given}, but the images of '
                    f'{phase}_dataloader are those of {" and ".join(dict.fromkeys(files))}: set '
                    f'{phase}_evaluator.ann_file={files[0]}, or ann_file of the dataset.'
                )
    return list(dict.fromkeys(found))


def _annotations(config: dict) -> str | None:
    """Return the local JSON file of a dataset; None if it has none."""
    path = config.get('ann_file')
    if not _is_local_json(path) or config.get('backend_args'):
        return None
    path = os.path.join(config.get('data_root') or '', path)
    return path if Path(path).is_file() else None


def _is_local_json(path: Any) -> bool:
    return isinstance(path, str) and path.endswith('.json') and '://' not in path


def _same_images(path: str, files: Sequence[str]) -> bool:
    """Return True if a file contains the images of some others, or if they cannot be compared."""
    if len(files) == 1 and (os.path.samefile(path, files[0]) or filecmp.cmp(path, files[0], shallow=False)):
        return True
    try:
        images = [_images(one) for one in (path, *files)]
    except DataError:
        return True  # reported when the dataset reads it
    return None in images or images[0] == set().union(*images[1:])


def _images(path: str) -> set[tuple] | None:
    """Return ids and base names of the images in a COCO file; None for other files."""
    content = read_json(path)
    images = content.get('images') if isinstance(content, dict) else None
    if not isinstance(images, list) or not all(isinstance(image, dict) for image in images):
        return None
    return {(str(image.get('id')), PurePosixPath(str(image.get('file_name'))).name) for image in images}
