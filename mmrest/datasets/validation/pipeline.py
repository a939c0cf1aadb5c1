"""Transforms of a dataset that name the file when something is wrong with it, wherever the file is read."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from mmengine.dataset import Compose

from ..images import check_ends, png_depth
from .report import DataError, SampleError

LIBRARIES = ('mmcv', 'mmdet', 'mmengine', 'mmpretrain', 'mmseg')


class ValidatedPipeline(Compose):
    """Transforms of a dataset; when a file cannot be loaded, the error names it.

    It also refuses what would be taken without a word: an image that was cut off or is not of the size that
    its annotations are for, and a label map of another size, with colors or with values that are no class.

    Args:
        transforms (list): Of the pipeline that is to be validated.
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
            SampleError: A file is missing, damaged, or not what it should be.
            RuntimeError: Another step failed; names the file as well.
        """
        for transform in self.transforms:
            data = self.apply(transform, data)
            if data is None:
                return None
        return data

    def apply(self, transform: Any, data: dict) -> dict | None:
        """Do one step on a sample; raises as a call does."""
        name, image = type(transform).__name__, data.get('img_path')
        new = [key for key in ('img', 'gt_seg_map') if key not in data]
        first = 'img' in new and 'inputs' not in data
        map_path = None if first else data.get('seg_map_path')
        path = map_path or image
        what = 'label map' if map_path and self.labels else 'image' if first else 'annotation'
        loads = first or name.startswith('Load')
        try:
            # Other storage may have what looks like a local path.
            if (first or map_path and loads) and name != 'LoadImageFromNDArray' and not _is_remote(transform):
                self._check_file(path, what, is_stock(transform))
            data = transform(data)
        except DataError:
            raise
        except Exception as error:
            if loads:
                missing = isinstance(error, FileNotFoundError)
                raise SampleError(
                    f'{path or "A sample"} cannot be loaded: {_reason(error, path)}',
                    f'{what} is missing' if missing else f'{what} cannot be read',
                ) from error
            raise RuntimeError(f'{name} failed on {image or "a sample"}: {type(error).__name__}: {error}') from error
        if data is not None and 'img' in new and isinstance(data.get('img'), np.ndarray):
            _check_size(data)
        if data is not None and self.labels and 'gt_seg_map' in new and 'gt_seg_map' in data:
            _check_labels(data, *self.labels)
        return data

    def _check_file(self, path: Any, what: str, stock: bool) -> None:
        """Look once at each local image file whether it was cut off, and at each label map whether it fits 8 bits."""
        if not isinstance(path, str) or '://' in path or hash(path) in self._known:
            return
        if not stock and not os.path.isfile(path):
            return  # a loader of one's own knows what it is the name of
        fault = check_ends(path)
        if fault:
            raise SampleError(f'{path} {fault}', f'{what} cannot be read')
        if stock and what == 'label map' and png_depth(path) > 8 and _greatest_value(path) > 255:
            # mmseg would take them modulo 256; an image of 16 bits is brought down to 8 by OpenCV.
            raise SampleError(
                f'{path} is no label map: it has values above 255', 'label map with values that are no class'
            )
        self._known.add(hash(path))


def is_stock(transform: Any) -> bool:
    """Return True for a transform of the OpenMMLab libraries themselves."""
    return type(transform).__module__.split('.')[0] in LIBRARIES


def _is_remote(transform: Any) -> bool:
    """Return True if a transform reads from something else than a local disk."""
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
        raise SampleError(
            f'{data.get("img_path")} has {width}x{height} px, and its annotations are for {stated[0]}x'
            f'{stated[1]}: mend the image or the annotation file',
            'image size differs from the annotations',
        )


def _check_labels(data: dict, classes: int, ignored: int) -> None:
    """Check the label map that was just loaded."""
    labels, path = data['gt_seg_map'], data.get('seg_map_path') or data.get('img_path')
    if labels.ndim != 2:
        raise SampleError(
            f'{path} is no label map: it has {labels.shape[-1]} channels, not one with the number of the class',
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
            f'{classes - 1}, and {ignored} for pixels to ignore',
            'label map with values that are no class',
        )
