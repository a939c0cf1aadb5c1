"""Samples of a dataset loaded by its own pipeline, in as many processes as there are cores."""

from __future__ import annotations

import signal
import warnings
from typing import Any

from torch.utils.data import DataLoader, Dataset

from ...utils.cores import available_cores
from ...utils.progress import Progress, no_progress
from ..images import png_depth
from .pipeline import ValidatedPipeline, is_stock
from .report import DataError, Report, SampleError

# Below that many samples, starting processes takes longer than what they save.
_MIN_FOR_WORKERS = 200
_BATCH = 16
# Samples to find the loading steps of a pipeline with, should the first ones be damaged.
_TRIED = 5

_CONVERTED = dict.fromkeys(('L', '1'), 'grayscale image (read as gray colors)')
_CONVERTED.update(dict.fromkeys(('RGBA', 'LA', 'PA', 'RGBa', 'La'), 'image with transparency (ignored)'))
_CONVERTED.update(dict.fromkeys(('I', 'F', 'I;16', 'I;16B', 'I;16L'), 'image of 16 bits (brought down to 8)'))
_CONVERTED.update(CMYK='CMYK image (converted to RGB)')


class LoadingPipeline(ValidatedPipeline):
    """The steps of a pipeline that load something; ``notes`` has what is odd in the last sample.

    Args:
        transforms (list): Of the whole pipeline.
        labels (tuple[int, int], optional): As in :class:`ValidatedPipeline`.
        files_only (bool): Leave out stock steps that only convert annotations, which have been checked.
    """

    def __init__(self, transforms: list, labels: tuple[int, int] | None = None, files_only: bool = False) -> None:
        super().__init__(transforms, labels)
        self.files_only = files_only
        self.steps = list(self.transforms)
        self.notes: list[tuple[str, str]] = []

    def __call__(self, data: dict) -> dict | None:
        """Load a sample; raises as :class:`ValidatedPipeline` does."""
        self.notes = []
        for transform in self.steps:
            unread, unlabeled = 'img' not in data, 'gt_seg_map' not in data
            data = self.apply(transform, data)
            if not isinstance(data, dict):
                break
            if unread and 'img' in data:
                self._note_conversion(transform, data.get('img_path'))
            if unlabeled and self.labels and 'gt_seg_map' in data and (data['gt_seg_map'] == self.labels[1]).all():
                self.notes.append(('label map without any class (ignored)', str(data.get('seg_map_path'))))
        return data

    def find_steps(self, dataset: Any) -> None:
        """Keep the steps that load: those up to the image, called ``Load...``, or adding annotations to a sample."""
        for index in range(min(_TRIED, len(dataset))):
            seen: list[Any] = []
            dataset.pipeline = _Probe(self.transforms, self.labels, seen, self.files_only)
            try:
                load_sample(dataset, index)
            except Exception:  # a damaged sample, which is reported when it is looked at
                continue
            finally:
                dataset.pipeline = self
            self.steps = seen
            return
        named = [
            step
            for step in self.transforms
            if type(step).__name__.startswith('Load')
            and not (self.files_only and is_stock(step) and 'Image' not in type(step).__name__)
        ]
        self.steps = named or self.transforms[:1]

    def _note_conversion(self, transform: Any, path: Any) -> None:
        """Note that OpenCV makes three channels of 8 bits from something else."""
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
                warnings.simplefilter('ignore')  # of large images, which the loader has read
                with Image.open(path) as image:
                    mode = image.mode
            kind = _CONVERTED.get(mode) or (_CONVERTED['I'] if png_depth(path) > 8 else None)
        except Exception:  # on other storage, or of a kind that Pillow does not know or finds too large
            return
        if kind:
            self.notes.append((kind, path))


class _Probe(ValidatedPipeline):
    """A pipeline that notes which of its steps load something."""

    def __init__(self, transforms: list, labels: tuple[int, int] | None, seen: list[Any], files_only: bool) -> None:
        super().__init__(transforms, labels)
        self.seen, self.files_only = seen, files_only

    def __call__(self, data: dict) -> dict | None:
        for transform in self.transforms:
            before = set(data)
            data = self.apply(transform, data)
            new = set(data) - before if isinstance(data, dict) else set()
            first = 'img' not in before and 'inputs' not in new
            loads = type(transform).__name__.startswith('Load') or any(str(key).startswith('gt_') for key in new)
            if first or loads and not (self.files_only and is_stock(transform) and not {'img', 'gt_seg_map'} & new):
                self.seen.append(transform)
            if not isinstance(data, dict) or 'inputs' in data:
                break
        return data


def load_sample(dataset: Any, index: int) -> Any:
    """Load a sample as it comes out of the pipeline of its dataset, without another one in its place."""
    return dataset.prepare_data(index) if hasattr(dataset, 'prepare_data') else dataset[index]


class _Findings(Dataset):
    """Findings in each sample of a dataset: whether they are errors, their kind, the file and what is wrong."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> list[tuple[bool, str, str]]:
        try:
            load_sample(self.dataset, index)
        except SampleError as error:
            return [(True, error.kind, error.reason)]
        except Exception as error:  # whatever a loader stumbles over
            text = str(error) if isinstance(error, (DataError, RuntimeError)) else f'{type(error).__name__}: {error}'
            return [(True, 'sample cannot be loaded', f'sample {index}: {text}')]
        return [(False, *note) for note in getattr(getattr(self.dataset, 'pipeline', None), 'notes', ())]


def check_samples(dataset: Any, report: Report, progress: Progress = no_progress, workers: int | None = None) -> None:
    """Load every sample of a dataset with the steps of its pipeline that load, and note what cannot be.

    Args:
        dataset: A built dataset, whose pipeline is replaced.
        report (Report): Gets what is found.
        progress (callable): See :mod:`mmrest.utils.progress`.
        workers (int, optional): Number of processes; default: the number of cores, none for a few samples.
    """
    labels = None
    pipeline = getattr(dataset, 'pipeline', None)
    if isinstance(pipeline, LoadingPipeline):
        labels = pipeline.labels
        pipeline.find_steps(dataset)
    if workers is None:
        workers = available_cores() if len(dataset) >= _MIN_FOR_WORKERS else 0
    loader = DataLoader(
        _Findings(dataset), batch_size=_BATCH, num_workers=workers, collate_fn=list, worker_init_fn=_prepare_worker
    )
    with progress('loading images', len(dataset), 'images') as advance:
        for batch in loader:
            for serious, kind, text in (finding for findings in batch for finding in findings):
                (report.error if serious else report.warn)(kind, text)
            report.count('images read', len(batch))
            if labels:
                report.count('label maps read', len(batch))
            advance(len(batch))


def _prepare_worker(number: int) -> None:
    """Leave Ctrl-C to the main process, and the other cores to the other workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        import cv2

        cv2.setNumThreads(0)
    except ImportError:
        pass
