"""Data pipeline that validates the files it loads."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from mmengine.dataset import Compose

from ..images import find_truncation, png_depth
from .report import DataError, SampleError

LIBRARIES = ('mmcv', 'mmdet', 'mmengine', 'mmpretrain', 'mmseg')


class ValidatedPipeline(Compose):
    """Pipeline whose errors name the file that cannot be loaded.

    It also refuses files that would silently be misread: truncated images, images of another size than in the
    annotations, and label maps of another size, in color, or with invalid labels.

    Args:
        transforms (list): Transforms of the pipeline.
        labels (tuple[int, int], optional): ``(num_classes, ignore_index)`` of a segmentation dataset.
    """

    def __init__(self, transforms: list, labels: tuple[int, int] | None = None) -> None:
        super().__init__(transforms)
        self.labels = labels
        self._checked: set[int] = set()  # hashes of the paths of checked files

    def __call__(self, data: dict) -> dict | None:
        """Load and transform a sample.

        Raises:
            SampleError: A file is missing, corrupt or invalid.
            RuntimeError: Another transform failed; the message names the file as well.
        """
        for transform in self.transforms:
            data = self.apply(transform, data)
            if data is None:
                return None
        return data

    def apply(self, transform: Any, data: dict) -> dict | None:
        """Apply one transform to a sample, with the same errors as a call of the pipeline."""
        name, image = type(transform).__name__, data.get('img_path')
        new = [key for key in ('img', 'gt_seg_map') if key not in data]
        first = 'img' in new and 'inputs' not in data
        map_path = None if first else data.get('seg_map_path')
        path = map_path or image
        kind = 'label map' if map_path and self.labels else 'image' if first else 'annotation'
        loads = first or name.startswith('Load')
        try:
            # Paths on remote storage may look like local ones.
            if (first or map_path and loads) and name != 'LoadImageFromNDArray' and not _is_remote(transform):
                self._check_file(path, kind, is_stock(transform))
            data = transform(data)
        except DataError:
            raise
        except Exception as error:
            if loads:
                missing = isinstance(error, FileNotFoundError)
                raise SampleError(
                    f'{path or "A sample"} cannot be loaded: {_reason(error, path)}',
                    f'{kind} is missing' if missing else f'{kind} cannot be read',
                ) from error
            raise RuntimeError(f'{name} failed on {image or "a sample"}: {type(error).__name__}: {error}') from error
        if data is not None and 'img' in new and isinstance(data.get('img'), np.ndarray):
            _check_size(data)
        if data is not None and self.labels and 'gt_seg_map' in new and 'gt_seg_map' in data:
            _check_labels(data, *self.labels)
        return data

    def _check_file(self, path: Any, kind: str, stock: bool) -> None:
        """Check each local image once for truncation, and each label map for values above 255."""
        if not isinstance(path, str) or '://' in path or hash(path) in self._checked:
            return
        if not stock and not os.path.isfile(path):
            return  # custom loaders may use paths in another way
        problem = find_truncation(path)
        if problem:
            raise SampleError(f'{path} {problem}', f'{kind} cannot be read')
        if stock and kind == 'label map' and png_depth(path) > 8 and _max_value(path) > 255:
            # mmseg would read them modulo 256. 16-bit images are no problem: OpenCV converts them to 8 bits.
            raise SampleError(f'{path} is not a label map: it has values above 255', 'label map with invalid labels')
        self._checked.add(hash(path))


def is_stock(transform: Any) -> bool:
    """Return True for a transform of the OpenMMLab libraries."""
    return type(transform).__module__.split('.')[0] in LIBRARIES


def _is_remote(transform: Any) -> bool:
    """Return True if a transform does not read from a local disk."""
    backend = getattr(transform, 'backend_args', None) or getattr(transform, 'file_client_args', None) or {}
    return backend.get('backend', 'local') not in ('local', 'disk')


def _max_value(path: str) -> int:
    from PIL import Image

    with Image.open(path) as image:
        return int(np.asarray(image).max()) if image.mode.startswith('I') else 0


def _reason(error: Exception, path: Any) -> str:
    if isinstance(error, FileNotFoundError):
        return 'there is no such file'
    if isinstance(error, AssertionError) and str(error).startswith('failed to load image'):
        return 'it is not an image, or corrupt'
    text = str(error).strip().splitlines()
    return f'{type(error).__name__}: {text[0].replace(str(path), "it")}' if text else type(error).__name__


def _check_size(data: dict) -> None:
    """Compare the size of an image with its annotations."""
    height, width = data['img'].shape[:2]
    stated = data.get('width'), data.get('height')
    if None not in stated and stated != (width, height):
        raise SampleError(
            f'{data.get("img_path")} has {width}x{height} px, and its annotations are for {stated[0]}x'
            f'{stated[1]}: correct the image or the annotation file',
            'image size differs from the annotations',
        )


def _check_labels(data: dict, classes: int, ignored: int) -> None:
    """Check the label map of a sample: one channel, size of the image, valid labels."""
    labels, path = data['gt_seg_map'], data.get('seg_map_path') or data.get('img_path')
    if labels.ndim != 2:
        raise SampleError(
            f'{path} is not a label map: it has {labels.shape[-1]} channels, not one with class indices',
            'label map with several channels',
        )
    size = data.get('ori_shape')
    if size is not None and tuple(size[:2]) != labels.shape:
        raise SampleError(
            f'{path} has {labels.shape[1]}x{labels.shape[0]} px, and its image {size[1]}x{size[0]}',
            'label map of another size than its image',
        )
    if np.count_nonzero(labels >= classes) != (np.count_nonzero(labels == ignored) if ignored >= classes else 0):
        wrong = [int(value) for value in np.unique(labels) if value >= classes and value != ignored]
        raise SampleError(
            f'{path} has the values {", ".join(map(str, wrong[:10]))}: there are {classes} classes, 0 to '
            f'{classes - 1}, and {ignored} for ignored pixels',
            'label map with invalid labels',
        )
