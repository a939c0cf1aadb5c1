"""Datasets built from their configs with what they read checked on the way."""

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
from .reading import gc_paused, read_json
from .report import ADVICE, SWITCH, DataError, Report


def is_coco(config: dict) -> bool:
    """Return True for the config of a dataset that reads COCO's instance annotations."""
    # By name, as pycocotools need not be there; panoptic annotations are of another kind.
    return getattr(getattr(dataset_class(config), 'COCOAPI', None), '__name__', '') == 'COCO'


def with_coco_checks(config: Any, report: Report | None = None, progress: Progress = no_progress) -> Any:
    """Return the config of a data loader or dataset whose COCO annotations are checked as they are read.

    mmdet's datasets leave the class that reads annotations to their subclasses (``COCOAPI``): each dataset in the
    config gets one, which is pickled as the class that it stands for.

    Args:
        config (dict | list): Stays as it is; wrappers such as RepeatDataset are looked into.
        report (Report, optional): Gets what is found, and the dataset has what can be used. Default: a file with
            something wrong raises a :class:`DataError`.
        progress (callable): See :mod:`mmrest.utils.progress`.
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
    """Return a subclass of a dataset's class that reads annotations with ``api``."""

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
    """Return the class that reads COCO annotations, made to check them."""

    class CheckedCoco(api):
        tasks = contextlib.ExitStack()  # shown while the dataset is made of the annotations

        def __init__(self, annotation_file: str | None = None) -> None:
            super().__init__()
            if annotation_file is None:
                return
            self.dataset = read_checked(annotation_file, masks, classes, evaluated, report, progress)
            with gc_paused(), contextlib.redirect_stdout(io.StringIO()):
                self.createIndex()
            self.img_ann_map, self.cat_img_map = self.imgToAnns, self.catToImgs  # names that mmdet has for them
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
    """Read COCO annotations that have to pass :func:`check_coco`.

    Args:
        ann_file (str | Path): JSON file.
        masks (bool): As in :func:`check_coco`, like ``classes`` and ``evaluated``.
        classes (tuple[str], optional): Names.
        evaluated (bool): In evaluation.
        report (Report, optional): Gets what is found; default: an error is raised.
        progress (callable): See :mod:`mmrest.utils.progress`.

    Raises:
        DataError: The file cannot be read; or, without a report, it has what :func:`check_coco` calls an error.
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
        raise UnreadableError(f'{ann_file} is no file of COCO annotations')
    return usable


class UnreadableError(DataError):
    """Annotations of which nothing can be used, as the report says already."""


def validate_dataset(dataset: Any) -> None:
    """Validate the pipelines of a built dataset and of those that it wraps; those that are already stay.

    Raises:
        DataError: It has no images, or not the classes that it should have.
    """
    inner = [getattr(dataset, name, None) for name in ('_dataset', 'dataset')] + list(getattr(dataset, 'datasets', []))
    inner = [one for one in inner if hasattr(one, '__getitem__')]
    for one in inner:
        validate_dataset(one)
    if inner:
        return
    classes = (getattr(dataset, 'metainfo', None) or {}).get('classes')
    if classes and hasattr(dataset, 'COCOAPI') and len(dataset.cat_ids) != len(classes):
        # mmdet would number those that are there 0, 1, 2, ..., whatever they are.
        names = [category['name'] for category in read_json(dataset.ann_file)['categories']]
        missing = [name for name in classes if name not in names]
        raise DataError(
            f'{dataset.ann_file} has no category {shorten_names(missing)}, which the dataset is to have '
            f'(metainfo.classes); it has {shorten_names(names)}. {SWITCH}.'
        )
    pipeline = getattr(dataset, 'pipeline', None)
    if type(pipeline).__name__ == 'Compose':  # mmengine's, or mmcv's, which need not be there
        dataset.pipeline = ValidatedPipeline(pipeline.transforms, find_labels(dataset))
    left_out = find_other_suffixes(dataset)
    if left_out and not isinstance(pipeline, ValidatedPipeline):  # once
        print_log(
            f'{len(left_out):,} images, such as {left_out[0]}, are left out: their names do not end with '
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
    """Return the number of classes of a segmentation dataset of mmseg's and what it ignores; None for another."""
    classes = (getattr(dataset, 'metainfo', None) or {}).get('classes')
    if not classes or not hasattr(dataset, 'reduce_zero_label'):
        return None
    return len(classes), getattr(dataset, 'ignore_index', 255)


def _no_images(configs: list[dict]) -> DataError:
    """Return the error of datasets that are empty, or one of which is."""
    where = [
        config.get('ann_file')
        or ', '.join(map(str, dict(config.get('data_prefix') or {}).values()))
        or str(config.get('type'))
        for config in configs
    ]
    classes = ''.join(describe_xml_classes(config) for config in configs)
    return DataError(
        f'No image to use in {", ".join(dict.fromkeys(where))}: there is none, none has an object of the '
        f'classes that the dataset is to have, or file names end otherwise than it expects.{classes} '
        f'{ADVICE}'
    )


@contextmanager
def dataset_errors(configs: list[dict]) -> Iterator[None]:
    """Name datasets of these configs that turn out to be empty while they are built.

    Raises:
        DataError: There are no images.
    """
    try:
        yield
    except ValueError as error:
        if 'at least one array' not in str(error):
            raise
        raise _no_images(configs) from error  # mmengine stumbles over a dataset without samples
