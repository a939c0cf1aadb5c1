"""Check of all samples of a dataset, loaded in parallel by its own pipeline."""

from __future__ import annotations

import signal
import warnings
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset

from ...utils.cores import available_cores
from ...utils.progress import Progress, no_progress
from ..images import png_depth
from .pipeline import ValidatedPipeline, is_stock
from .report import DataError, Report, SampleError

_MIN_FOR_WORKERS = 200  # samples; for fewer, starting worker processes does not pay off
_BATCH_SIZE = 16
_MAX_PROBES = 5  # samples to try for finding the loading transforms, in case the first ones are corrupt

# Pillow modes of images that OpenCV converts to 8-bit BGR.
_CONVERTED = dict.fromkeys(('L', '1'), 'grayscale image (converted to BGR)')
_CONVERTED.update(dict.fromkeys(('RGBA', 'LA', 'PA', 'RGBa', 'La'), 'image with transparency (ignored)'))
_CONVERTED.update(dict.fromkeys(('I', 'F', 'I;16', 'I;16B', 'I;16L'), '16-bit image (converted to 8 bits)'))
_CONVERTED.update(CMYK='CMYK image (converted to RGB)')


class LoadingPipeline(ValidatedPipeline):
    """Loading transforms of a pipeline. ``notes`` contains warnings about the last sample.

    ``shown`` are the labels in the label map of that sample.

    Args:
        transforms (list): Transforms of the whole pipeline.
        labels (tuple[int, int], optional): As in :class:`ValidatedPipeline`.
        files_only (bool): Skip stock transforms that only convert annotations, which are checked already.
    """

    def __init__(self, transforms: list, labels: tuple[int, int] | None = None, files_only: bool = False) -> None:
        super().__init__(transforms, labels)
        self.files_only = files_only
        self.steps = list(self.transforms)
        self.notes: list[tuple[str, str]] = []
        self.shown: set[int] = set()

    def __call__(self, data: dict) -> dict | None:
        """Load a sample, with the errors of :class:`ValidatedPipeline`."""
        self.notes, self.shown = [], set()
        for transform in self.steps:
            unread, unlabeled = 'img' not in data, 'gt_seg_map' not in data
            data = self.apply(transform, data)
            if not isinstance(data, dict):
                break
            if unread and 'img' in data:
                self._note_conversion(transform, data.get('img_path'))
            if unlabeled and self.labels and 'gt_seg_map' in data:
                self.shown = set(np.unique(data['gt_seg_map']).tolist()) - {self.labels[1]}
                if not self.shown:
                    self.notes.append(('label map without any class (ignored)', str(data.get('seg_map_path'))))
        return data

    def find_steps(self, dataset: Any) -> None:
        """Select the loading transforms: up to the image, named ``Load...``, or adding annotations to a sample."""
        for index in range(min(_MAX_PROBES, len(dataset))):
            steps: list[Any] = []
            dataset.pipeline = _Probe(self.transforms, self.labels, steps, self.files_only)
            try:
                load_sample(dataset, index)
            except Exception:  # a corrupt sample, reported later
                continue
            finally:
                dataset.pipeline = self
            self.steps = steps
            return
        named = [
            step
            for step in self.transforms
            if type(step).__name__.startswith('Load')
            and not (self.files_only and is_stock(step) and 'Image' not in type(step).__name__)
        ]
        self.steps = named or self.transforms[:1]

    def _note_conversion(self, transform: Any, path: Any) -> None:
        """Add a note if OpenCV converts the image to 8-bit BGR."""
        if (
            not is_stock(transform)
            or getattr(transform, 'color_type', None) != 'color'
            or not isinstance(path, str)
            or getattr(transform, 'imdecode_backend', None) != 'cv2'
        ):
            return
        try:
            from PIL import Image

            with warnings.catch_warnings():
                warnings.simplefilter('ignore')  # about large images
                with Image.open(path) as image:
                    mode = image.mode
            kind = _CONVERTED.get(mode) or (_CONVERTED['I'] if png_depth(path) > 8 else None)
        except Exception:  # remote, too large, or of a format that Pillow does not support
            return
        if kind:
            self.notes.append((kind, path))


class _Probe(ValidatedPipeline):
    """Pipeline that collects its loading transforms in ``steps``."""

    def __init__(self, transforms: list, labels: tuple[int, int] | None, steps: list[Any], files_only: bool) -> None:
        super().__init__(transforms, labels)
        self.steps, self.files_only = steps, files_only

    def __call__(self, data: dict) -> dict | None:
        for transform in self.transforms:
            before = set(data)
            data = self.apply(transform, data)
            new = set(data) - before if isinstance(data, dict) else set()
            first = 'img' not in before and 'inputs' not in new
            loads = type(transform).__name__.startswith('Load') or any(str(key).startswith('gt_') for key in new)
            if first or loads and not (self.files_only and is_stock(transform) and not {'img', 'gt_seg_map'} & new):
                self.steps.append(transform)
            if not isinstance(data, dict) or 'inputs' in data:
                break
        return data


def load_sample(dataset: Any, index: int) -> Any:
    """Load a sample through the pipeline of its dataset, without replacing it by another one if that fails."""
    return dataset.prepare_data(index) if hasattr(dataset, 'prepare_data') else dataset[index]


class _Findings(Dataset):
    """Dataset of the findings in each sample of another dataset.

    A sample is a list of tuples ``(is_error, kind, text)``, and the set of labels in its label map.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[list[tuple[bool, str, str]], set[int]]:
        try:
            load_sample(self.dataset, index)
        except SampleError as error:
            return [(True, error.kind, error.reason)], set()
        except Exception as error:  # custom transforms may raise anything
            text = str(error) if isinstance(error, (DataError, RuntimeError)) else f'{type(error).__name__}: {error}'
            return [(True, 'sample cannot be loaded', f'sample {index}: {text}')], set()
        pipeline = getattr(self.dataset, 'pipeline', None)
        return [(False, *note) for note in getattr(pipeline, 'notes', ())], getattr(pipeline, 'shown', set())


def check_samples(
    dataset: Any, report: Report, progress: Progress = no_progress, workers: int | None = None
) -> set[int]:
    """Load all samples of a dataset and report errors and warnings.

    Args:
        dataset: Dataset with a :class:`LoadingPipeline`.
        report (Report): Collects the findings.
        progress (callable): Progress display, see :mod:`mmrest.utils.progress`.
        workers (int, optional): Number of worker processes. Default: number of cores; 0 for small datasets.

    Returns:
        set[int]: Labels in the label maps.
    """
    labels, shown = None, set()
    pipeline = getattr(dataset, 'pipeline', None)
    if isinstance(pipeline, LoadingPipeline):
        labels = pipeline.labels
        pipeline.find_steps(dataset)
    if workers is None:
        workers = available_cores() if len(dataset) >= _MIN_FOR_WORKERS else 0
    loader = DataLoader(
        _Findings(dataset), batch_size=_BATCH_SIZE, num_workers=workers, collate_fn=list, worker_init_fn=_init_worker
    )
    with progress('loading images', len(dataset), 'images') as advance:
        for batch in loader:
            for findings, found in batch:
                shown |= found
                for is_error, kind, text in findings:
                    (report.error if is_error else report.warn)(kind, text)
            report.count('images read', len(batch))
            if labels:
                report.count('label maps read', len(batch))
            advance(len(batch))
    return shown


def _init_worker(worker_id: int) -> None:
    """Ignore Ctrl-C, which the main process handles, and use one thread per worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        import cv2

        cv2.setNumThreads(0)
    except ImportError:
        pass
