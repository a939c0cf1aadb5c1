"""Validation of datasets while they are built."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

from ...utils.progress import Progress, no_progress
from ..images import find_other_suffixes
from .classes import describe_xml_classes, known_classes
from .coco import check_coco, shorten_names
from .configs import dataset_class
from .pipeline import ValidatedPipeline
from .reading import disable_gc, read_json
from .report import ADVICE, SWITCH, DataError, Report


def is_coco(config: dict) -> bool:
    """Return True for the config of a dataset with COCO instance annotations."""
    # By name, since pycocotools may not be installed; panoptic annotations use another class.
    return getattr(getattr(dataset_class(config), 'COCOAPI', None), '__name__', '') == 'COCO'


def with_coco_checks(config: Any, report: Report | None = None, progress: Progress = no_progress) -> Any:
    """Return the config of a data loader or dataset that checks its COCO annotations while loading them.

    The dataset classes of mmdet read annotations with their attribute ``COCOAPI``. Each COCO dataset in the config is
    replaced by a subclass with a checking ``COCOAPI``, which is pickled as the original class.

    Args:
        config (dict | list): Config of a data loader, dataset or wrapper such as RepeatDataset; not changed.
        report (Report, optional): Collects the findings; the dataset contains the valid entries. Default: an invalid
            file raises a :class:`DataError`.
        progress (callable): Progress display, see :mod:`mmrest.utils.progress`.
    """
    if isinstance(config, (list, tuple)):
        return [with_coco_checks(one, report, progress) for one in config]
    if not isinstance(config, dict):
        return config
    changed = config.copy()
    inner = [key for key in ('dataset', 'datasets') if config.get(key)]
    for key in inner:
        changed[key] = with_coco_checks(config[key], report, progress)
    if not inner and is_coco(config):
        kind = dataset_class(config)
        masks = any(step.get('with_mask') for step in config.get('pipeline') or () if isinstance(step, dict))
        api = _checked(kind.COCOAPI, masks, known_classes(config), bool(config.get('test_mode')), report, progress)
        changed['type'] = _with_api(kind, api)
    return changed


def _with_api(kind: type, api: type) -> type:
    """Return a subclass of a dataset class that reads annotations with ``api``."""

    class Checked(kind):
        COCOAPI = api

        def load_data_list(self) -> list[dict]:
            with api.tasks:
                return super().load_data_list()

        def __reduce_ex__(self, protocol: int) -> tuple:
            return _make_empty, (kind,), self.__dict__

    for name in ('__name__', '__qualname__', '__module__', '__doc__'):
        setattr(Checked, name, getattr(kind, name))
    return Checked


def _make_empty(kind: type) -> Any:
    return kind.__new__(kind)


def _checked(
    api: type, masks: bool, classes: tuple[str, ...] | None, evaluated: bool, report: Report | None, progress: Progress
) -> type:
    """Return a subclass of a COCO API class that checks the annotations."""

    class CheckedCoco(api):
        tasks = contextlib.ExitStack()  # progress display while the dataset lists its images

        def __init__(self, annotation_file: str | None = None) -> None:
            super().__init__()
            if annotation_file is None:
                return
            self.dataset = read_checked(annotation_file, masks, classes, evaluated, report, progress)
            with disable_gc(), contextlib.redirect_stdout(io.StringIO()):
                self.createIndex()
            self.img_ann_map, self.cat_img_map = self.imgToAnns, self.catToImgs  # aliases used by mmdet
            self.advance = self.tasks.enter_context(progress('listing images', len(self.dataset['images']), 'images'))

        def load_imgs(self, ids: list) -> list[dict]:
            self.advance(len(ids))
            return super().load_imgs(ids)

    return CheckedCoco


def read_checked(
    ann_file: str | Path,
    masks: bool,
    classes: tuple[str, ...] | None,
    evaluated: bool,
    report: Report | None = None,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Read COCO annotations and check them with :func:`check_coco`.

    Args:
        ann_file (str | Path): JSON file.
        masks, classes, evaluated: As in :func:`check_coco`.
        report (Report, optional): Collects the findings. Default: errors are raised.
        progress (callable): Progress display, see :mod:`mmrest.utils.progress`.

    Returns:
        dict: Valid images, annotations and categories.

    Raises:
        DataError: The file cannot be read, or, without a report, contains errors.
    """
    found = report if report is not None else Report(examples=3)
    try:
        content = read_json(ann_file, progress)
        usable = check_coco(content, ann_file, found, classes, masks, evaluated, progress)
    except DataError as error:
        if report is None:
            raise DataError(f'{error} {SWITCH}.') from error
        report.error('annotation file cannot be read', str(ann_file), str(error))
        raise UnreadableError(str(error)) from error
    if report is None and found.errors:
        found.warnings.clear()
        raise DataError(f'{ann_file} cannot be used:\n{found}\n{ADVICE}\n{SWITCH}.')
    if usable is None:
        raise UnreadableError(f'{ann_file} is not a file of COCO annotations')
    return usable


class UnreadableError(DataError):
    """Annotations that cannot be used at all; the report contains the error already."""


def validate_dataset(dataset: Any) -> None:
    """Validate a built dataset and the datasets it wraps, and replace their pipelines by validated ones.

    Pipelines that are validated already are kept.

    Raises:
        DataError: A dataset has no images, or lacks some of its classes.
    """
    inner = [getattr(dataset, name, None) for name in ('_dataset', 'dataset')] + list(getattr(dataset, 'datasets', []))
    inner = [one for one in inner if hasattr(one, '__getitem__')]
    for one in inner:
        validate_dataset(one)
    if inner:
        return
    classes = (getattr(dataset, 'metainfo', None) or {}).get('classes')
    if classes and hasattr(dataset, 'COCOAPI') and len(dataset.cat_ids) != len(classes):
        # mmdet would assign labels 0, 1, 2, ... to the existing categories.
        names = [category['name'] for category in read_json(dataset.ann_file)['categories']]
        missing = [name for name in classes if name not in names]
        raise DataError(
            f'{dataset.ann_file} has no category {shorten_names(missing)} of metainfo.classes; '
            f'it has {shorten_names(names)}. {SWITCH}.'
        )
    pipeline = getattr(dataset, 'pipeline', None)
    if type(pipeline).__name__ == 'Compose':  # of mmengine, or of mmcv, which may not be installed
        dataset.pipeline = ValidatedPipeline(pipeline.transforms, find_labels(dataset))
    skipped = find_other_suffixes(dataset)
    if skipped and not isinstance(pipeline, ValidatedPipeline):  # warn once
        print_log(
            f'{len(skipped):,} images, such as {skipped[0]}, are skipped: their names do not end with '
            f'{dataset.img_suffix} (img_suffix of the dataset).',
            logger='current',
            level=logging.WARNING,
        )
    if hasattr(dataset, '__len__') and not len(dataset):
        raise _no_images(
            [
                dict(
                    ann_file=getattr(dataset, 'ann_file', ''),
                    type=type(dataset),
                    data_prefix=getattr(dataset, 'data_prefix', None),
                    metainfo=dataset.metainfo,
                )
            ]
        )


def find_labels(dataset: Any) -> tuple[int, int] | None:
    """Return ``(num_classes, ignore_index)`` of a dataset of mmseg; None for other datasets."""
    classes = (getattr(dataset, 'metainfo', None) or {}).get('classes')
    if not classes or not hasattr(dataset, 'reduce_zero_label'):
        return None
    return len(classes), getattr(dataset, 'ignore_index', 255)


def _no_images(configs: list[dict]) -> DataError:
    """Return the error for datasets of which at least one is empty."""
    sources = [
        config.get('ann_file')
        or ', '.join(map(str, dict(config.get('data_prefix') or {}).values()))
        or str(config.get('type'))
        for config in configs
    ]
    classes = ''.join(describe_xml_classes(config) for config in configs)
    return DataError(
        f'No image to use in {", ".join(dict.fromkeys(sources))}: there are no images, none has an object of the '
        f'classes of the dataset, or their file names have another suffix.{classes} '
        f'{ADVICE}'
    )


@contextmanager
def dataset_errors(configs: list[dict]) -> Iterator[None]:
    """Turn the error of mmengine for empty datasets, which names no file, into a DataError.

    Args:
        configs (list[dict]): Configs of the datasets that are built inside the context.

    Raises:
        DataError: A dataset has no images.
    """
    try:
        yield
    except ValueError as error:
        if 'at least one array' not in str(error):
            raise
        raise _no_images(configs) from error
