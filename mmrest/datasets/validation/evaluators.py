"""Annotations of evaluators beside those of the datasets that they evaluate."""

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
    """Return a sentence for each evaluator whose annotations are of other images than those of its dataset.

    Another file with the same images, by id and name, is fine. Files are read only where their paths differ.

    Args:
        cfg (Config): Whole config.
        phases (iterable[str]): Those that are going to run; training has no evaluator.
    """
    found = []
    for phase in phases:
        datasets = [config for config, _ in nested_datasets(cfg.get(f'{phase}_dataloader'))]
        files = [path for path in map(_annotations, datasets) if path]
        evaluator = cfg.get(f'{phase}_evaluator')
        if not files or len(files) != len(datasets):
            continue
        apart = isinstance(evaluator, dict) and 'MultiDatasets' in str(evaluator.get('type'))
        for metric in nested_metrics(evaluator):
            given = metric.get('ann_file')
            if not _is_local_json(given) or metric.get('backend_args') or not Path(given).is_file():
                continue
            groups = [[file] for file in files] if apart else [files]
            if not any(_same_images(given, group) for group in groups):
                found.append(
                    f'{phase}_evaluator ({metric.get("type")}) compares with {given}, and the images of '
                    f'{phase}_dataloader are those of {" and ".join(dict.fromkeys(files))}: set '
                    f'{phase}_evaluator.ann_file={files[0]}, or ann_file of the dataset.'
                )
    return list(dict.fromkeys(found))


def _annotations(config: dict) -> str | None:
    """The local JSON file of a dataset, if that is what it reads."""
    path = config.get('ann_file')
    if not _is_local_json(path) or config.get('backend_args'):
        return None
    path = os.path.join(config.get('data_root') or '', path)
    return path if Path(path).is_file() else None


def _is_local_json(path: Any) -> bool:
    return isinstance(path, str) and path.endswith('.json') and '://' not in path


def _same_images(path: str, files: Sequence[str]) -> bool:
    """Return True if a file has the images of some others, or has none that could be compared."""
    if len(files) == 1 and (os.path.samefile(path, files[0]) or filecmp.cmp(path, files[0], shallow=False)):
        return True
    try:
        images = [_images(one) for one in (path, *files)]
    except DataError:
        return True  # named when it is read
    return None in images or images[0] == set().union(*images[1:])


def _images(path: str) -> set[tuple] | None:
    """Ids and names of the images in a COCO file, the folders in a name aside; None for another kind of file."""
    content = read_json(path)
    images = content.get('images') if isinstance(content, dict) else None
    if not isinstance(images, list) or not all(isinstance(image, dict) for image in images):
        return None
    return {(str(image.get('id')), PurePosixPath(str(image.get('file_name'))).name) for image in images}
