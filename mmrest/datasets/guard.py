"""Data loading that names the file when something is wrong with it, wherever the file is read."""
from __future__ import annotations

import logging
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator

import numpy as np
from mmengine.dataset import Compose
from mmengine.logging import print_log
from mmengine.registry import DATASETS

from .coco import check_coco, check_size, read_json
from .faults import DataError, Report
from .images import check_ends, find_other_suffixes, png_depth

ADVICE = 'To find all such files before a run: python tools/check_dataset.py CONFIG'


class GuardedPipeline(Compose):
    """A dataset's transforms; when a file cannot be loaded, the error names it.

    It also refuses what would be taken without a word: an image that was cut off or is not of the size that
    its annotations are for, and a label map of another size, with colours or with values that are no class.

    Args:
        transforms (list): Of the pipeline that is guarded.
        labels (tuple[int, int], optional): Of a segmentation dataset: the number of its classes, and the value
            of pixels to ignore.
    """

    def __init__(self, transforms: list, labels: tuple[int, int] | None = None) -> None:
        super().__init__(transforms)
        self.labels = labels
        self._known: set[int] = set()  # files that were looked at, as hashes of their names

    def __call__(self, data: dict) -> dict | None:
        """Load and transform a sample.

        Raises:
            DataError: A file is missing, damaged, or not what it should be.
            RuntimeError: Another step failed; names the file as well.
        """
        image = data.get('img_path')
        for transform in self.transforms:
            name = type(transform).__name__
            new = [key for key in ('img', 'gt_seg_map') if key not in data]
            path = data.get('seg_map_path') or image if name == 'LoadAnnotations' else image
            try:
                # Other storage may have what looks like a local path.
                if name.startswith('Load') and not _is_remote(transform):
                    self._check_file(path)
                data = transform(data)
            except DataError:
                raise
            except Exception as error:
                if name.startswith('Load'):
                    raise DataError(f'{path or "A sample"} cannot be loaded: {_reason(error, path)}. {ADVICE}') \
                        from error
                raise RuntimeError(f'{name} failed on {image or "a sample"}: {type(error).__name__}: {error}') \
                    from error
            if data is None:
                return None
            if 'img' in new and isinstance(data.get('img'), np.ndarray):
                _check_size(data)
            if self.labels and 'gt_seg_map' in new and 'gt_seg_map' in data:
                _check_labels(data, *self.labels)
        return data

    def _check_file(self, path: Any) -> None:
        """Look once at each local image file whether it was cut off, and at each label map whether it fits 8 bits."""
        if not isinstance(path, str) or '://' in path or hash(path) in self._known:
            return
        fault = check_ends(path)
        if fault:
            raise DataError(f'{path} {fault}. {ADVICE}')
        if self.labels and png_depth(path) > 8 and _greatest_value(path) > 255:
            # mmseg would take them modulo 256; an image of 16 bits is brought down to 8 by OpenCV.
            raise DataError(f'{path} is no label map: it has values above 255. {ADVICE}')
        self._known.add(hash(path))


def _is_remote(transform: Any) -> bool:
    """Whether a transform reads from something else than a local disk."""
    backend = getattr(transform, 'backend_args', None) or getattr(transform, 'file_client_args', None) or {}
    return backend.get('backend', 'local') not in ('local', 'disk')


def _greatest_value(path: str) -> int:
    from PIL import Image
    with Image.open(path) as image:
        return int(np.asarray(image).max()) if image.mode.startswith('I') else 0


def _reason(error: Exception, path: Any) -> str:
    if isinstance(error, FileNotFoundError):
        return 'there is no such file'
    if isinstance(error, AssertionError) and str(error).startswith('failed to load image'):
        return 'it is no image, or damaged'
    text = str(error).strip().splitlines()
    return f'{type(error).__name__}: {text[0].replace(str(path), "it")}' if text else type(error).__name__


def _check_size(data: dict) -> None:
    """Compare an image with the size in its annotations."""
    height, width = data['img'].shape[:2]
    stated = data.get('width'), data.get('height')
    if None not in stated and stated != (width, height):
        raise DataError(f'{data.get("img_path")} has {width}x{height} px, and its annotations are for {stated[0]}x'
                        f'{stated[1]}: mend the image or the annotation file. {ADVICE}')


def _check_labels(data: dict, classes: int, ignored: int) -> None:
    """Check the label map that was just loaded."""
    labels, path = data['gt_seg_map'], data.get('seg_map_path')
    if labels.ndim != 2:
        raise DataError(f'{path} is no label map: it has {labels.shape[-1]} channels, not one with the number of the '
                        f'class. {ADVICE}')
    size = data.get('ori_shape')
    if size is not None and tuple(size[:2]) != labels.shape:
        raise DataError(f'{path} has {labels.shape[1]}x{labels.shape[0]} px, and its image {size[1]}x{size[0]}. '
                        f'{ADVICE}')
    if np.count_nonzero(labels >= classes) != (np.count_nonzero(labels == ignored) if ignored >= classes else 0):
        wrong = [int(value) for value in np.unique(labels) if value >= classes and value != ignored]
        raise DataError(f'{path} has the values {", ".join(map(str, wrong[:10]))}: there are {classes} classes, 0 to '
                        f'{classes - 1}, and {ignored} for pixels to ignore. {ADVICE}')


def guard_dataset(dataset: Any) -> None:
    """Guard the pipelines of a built dataset and of those that it wraps; those that are guarded already stay.

    Raises:
        DataError: It has no images, or not the classes that it should have.
    """
    inner = [getattr(dataset, name, None) for name in ('_dataset', 'dataset')] + list(getattr(dataset, 'datasets', []))
    inner = [one for one in inner if hasattr(one, '__getitem__')]
    for one in inner:
        guard_dataset(one)
    if inner:
        return
    classes = (getattr(dataset, 'metainfo', None) or {}).get('classes')
    if classes and hasattr(dataset, 'COCOAPI') and len(dataset.cat_ids) != len(classes):
        # mmdet would number those that are there 0, 1, 2, ..., whatever they are.
        names = [category['name'] for category in read_json(dataset.ann_file)['categories']]
        missing = ', '.join(name for name in classes if name not in names)
        raise DataError(f'{dataset.ann_file} has no category {missing}, which the dataset is to have '
                        f'(metainfo.classes); it has {", ".join(names[:20])}.')
    pipeline = getattr(dataset, 'pipeline', None)
    if type(pipeline).__name__ == 'Compose':  # mmengine's, or mmcv's, which need not be there
        labels = None
        if classes and hasattr(dataset, 'reduce_zero_label'):  # mmseg's
            labels = len(classes), getattr(dataset, 'ignore_index', 255)
        dataset.pipeline = GuardedPipeline(pipeline.transforms, labels)
    left_out = find_other_suffixes(dataset)
    if left_out and not isinstance(pipeline, GuardedPipeline):  # once
        print_log(f'{len(left_out):,} images, such as {left_out[0]}, are left out: their names do not end with '
                  f'{dataset.img_suffix} (img_suffix of the dataset).', logger='current', level=logging.WARNING)
    if hasattr(dataset, '__len__') and not len(dataset):
        raise _no_images([dict(ann_file=getattr(dataset, 'ann_file', ''),
                               data_prefix=getattr(dataset, 'data_prefix', None), type=type(dataset).__name__)])


def _no_images(configs: list[dict]) -> DataError:
    """What to say of datasets that are empty, or one of which is."""
    where = [config.get('ann_file') or ', '.join(map(str, dict(config.get('data_prefix') or {}).values()))
             or str(config.get('type')) for config in configs]
    return DataError(f'No image to use in {", ".join(dict.fromkeys(where))}: there is none, none has an object of the '
                     f'classes that the dataset is to have, or file names end otherwise than it expects. {ADVICE}')


@contextmanager
def data_errors(configs: list[dict]) -> Iterator[None]:
    """Have errors in what datasets of these configs read while they are built named.

    COCO annotations are checked on the way, as they are read only then.

    Raises:
        DataError: What :func:`check_coco` calls an error, with all kinds; or there are no images.
    """
    patched = []
    try:
        for config in configs:
            kind = dataset_class(config)
            api = getattr(kind, 'COCOAPI', None)
            # By name, as pycocotools need not be there; panoptic annotations are of another kind.
            if api is not None and api.__name__ == 'COCO':
                masks = any(step.get('with_mask') for step in config.get('pipeline', []) if isinstance(step, dict))
                patched.append((kind, kind.__dict__.get('COCOAPI')))
                kind.COCOAPI = _checked(api, masks, known_classes(config), bool(config.get('test_mode')))
        yield
    except ValueError as error:
        if 'at least one array' not in str(error):
            raise
        raise _no_images(configs) from error  # mmengine stumbles over a dataset without samples
    finally:
        for kind, api in reversed(patched):
            if api is None:
                del kind.COCOAPI
            else:
                kind.COCOAPI = api


def dataset_class(config: dict, scope: str | None = None) -> type | None:
    """The class that a dataset's config names; None if there is none of that name.

    Args:
        config (dict): Of a dataset.
        scope (str, optional): The library that a name without one belongs to; default: the current scope.
    """
    kind = config.get('type')
    if isinstance(kind, str):
        with DATASETS.switch_scope_and_registry(scope) as registry:
            kind = registry.get(kind)
    return kind


def known_classes(config: dict, scope: str | None = None) -> tuple[str, ...] | None:
    """Return the names of classes that a dataset's config gives it; None if they are in its data.

    Args:
        config (dict): Of a dataset.
        scope (str, optional): As in :func:`dataset_class`.
    """
    load = getattr(dataset_class(config, scope), '_load_metainfo', None)
    classes = (load(config.get('metainfo')) if load else {}).get('classes')
    return tuple(classes) if classes else None


def _checked(api: type, masks: bool, classes: tuple[str, ...] | None, evaluated: bool) -> type:
    """The class that reads COCO annotations, made to check them."""

    class CheckedCoco(api):

        def __init__(self, annotation_file: str | None = None) -> None:
            self._file = annotation_file
            if annotation_file is not None:
                check_size(annotation_file)
            try:
                super().__init__(annotation_file)
            except (ValueError, RecursionError, AssertionError) as error:
                raise DataError(f'{annotation_file} is no file of COCO annotations that can be read: '
                                f'{error or type(error).__name__}. {ADVICE}') from error

        def createIndex(self) -> None:  # noqa: N802 (pycocotools' name)
            report = Report(examples=3)
            check_coco(self.dataset, self._file, report, classes, masks, evaluated)
            if report.errors:
                report.warnings.clear()
                raise DataError(f'{Path(self._file)} cannot be used:\n{report}\n{ADVICE}')
            super().createIndex()

    return CheckedCoco
