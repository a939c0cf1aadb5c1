"""Hook that collects what a report shows, while a model is tested."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ...utils.environment import device_name
from ..samples import draw_sample, read_image
from .classwise import ClasswiseMetric, add_classwise
from .judges import Judge, find_judge
from .record import Picture, TestRecord

MAX_SIDE = 640  # pixels of the pictures of a page
JPEG_QUALITY = 85


class ReportHook(Hook):
    """Collect the confusions, the worst images, some examples and the times of a test.

    Only counts and the painted pictures are kept, so that memory does not grow with the number of images. In a
    distributed test, every process collects its own images, and the first one has all of them at the end.

    Args:
        num_worst (int): Number of images with the worst predictions.
        num_examples (int): Number of images that are evenly spaced over the dataset.
        score_thr (float): Instances below this score are neither counted nor painted.
        iou_thr (float): IoU from which a detection covers an object.

    Attributes:
        record (TestRecord): The result.
    """

    # Before the hooks that paint every image, whose time is not that of the model.
    priority = 'VERY_HIGH'

    def __init__(
        self, num_worst: int = 10, num_examples: int = 6, score_thr: float = 0.3, iou_thr: float = 0.5
    ) -> None:
        self.num_examples = num_examples
        self.record = TestRecord(score_thr=score_thr, iou_thr=iou_thr, max_worst=num_worst)
        self._judge: Judge | None = None
        self._classwise: list[ClasswiseMetric] = []
        self._batches = self._images = 0
        self._mark = 0.0

    def before_test(self, runner: Runner) -> None:
        """Prepare the metrics and the record."""
        dataset, record = runner.test_loop.dataloader.dataset, self.record
        metrics = runner.test_loop.evaluator.metrics
        record.num_images, record.processes = len(dataset), runner.world_size
        record.classes = tuple(map(str, getattr(dataset, 'metainfo', {}).get('classes') or ()))
        formats = [metric.format_only for metric in metrics if hasattr(metric, 'format_only')]
        record.format_only = bool(formats) and all(formats)
        self._classwise = add_classwise(metrics)
        self._chosen = set(np.linspace(0, len(dataset) - 1, min(self.num_examples, len(dataset))).round().astype(int))
        record.timings.device = device_name(next(runner.model.parameters()).device)
        self._mark = time.perf_counter()

    def before_test_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Note the time."""
        now = time.perf_counter()
        self.record.timings.loading += now - self._mark
        self._mark = now

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Sequence[Any] | None = None
    ) -> None:
        """Compare the images of a batch with their annotations, and paint some of them."""
        start = time.perf_counter()
        # The evaluator has copied the predictions from the device: the model has finished.
        self.record.timings.model.append(start - self._mark)
        self.record.timings.sizes.append(len(outputs or ()))
        dataset = runner.test_loop.dataloader.dataset
        for i, sample in enumerate(outputs or ()):
            # Samplers deal images to the processes in turn, and some images twice if their number does not come out
            # even, which mmengine's metrics drop, too.
            position = self._images * runner.world_size + runner.rank
            self._images += 1
            if position < self.record.num_images:
                self._add(position, sample, dataset, runner, _nth(data_batch, i))
        self._mark = time.perf_counter()
        self.record.timings.report += self._mark - start

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Gather the results of all processes."""
        record = self.record
        record.timings.evaluation = time.perf_counter() - self._mark
        record.metrics = dict(metrics or {})
        for metric in self._classwise:
            record.class_ap.update(metric.class_ap)
        record.merge([other for rank, other in enumerate(all_gather_object(record)) if rank != runner.rank])

    def _add(self, position: int, sample: Any, dataset: Any, runner: Runner, inputs: torch.Tensor | None) -> None:
        record = self.record
        if self._judge is None:
            metrics = runner.test_loop.evaluator.metrics
            ignored = next((metric.ignore_index for metric in metrics if hasattr(metric, 'ignore_index')), 255)
            self._judge = find_judge(sample, dataset, ignored, record.score_thr, record.iou_thr)
            record.task = self._judge.task
        judgement = None if record.format_only else self._judge.judge(sample)
        if judgement is not None:
            record.pairs.update(judgement.pairs)
            record.num_judged += 1
        is_bad = judgement is not None and record.is_among_worst(judgement.badness)
        if not is_bad and position not in self._chosen:
            return
        picture = Picture(position, _name(sample, dataset) or f'image {position}')
        if judgement is not None:
            picture.text, picture.badness = judgement.text, judgement.badness
        try:
            picture.painted = self._paint(sample, dataset, inputs)
        except Exception as error:  # a picture that cannot be painted does not end a test
            picture.fault = f'{type(error).__name__}: {error}'
        if is_bad:
            record.add_worst([picture])
        if position in self._chosen:
            record.examples.append(picture)

    def _paint(self, sample: Any, dataset: Any, inputs: torch.Tensor | None) -> list[tuple[str, bytes]]:
        metainfo = getattr(dataset, 'metainfo', {})
        image, names = read_image(sample, inputs), (self.record.classes, metainfo.get('palette'))
        masks = 'masks' in sample.get(
            'pred_instances', ()
        )  # those of a dataset for a detector of boxes are not painted
        truth = None if self.record.format_only else self._judge.truth(sample, masks)
        painted = [] if truth is None else [('annotations', draw_sample(image, truth, *names, truth=True))]
        painted.append(('predictions', draw_sample(image, sample, *names, score_thr=self.record.score_thr)))
        return [(caption, to_jpeg(picture)) for caption, picture in painted]


def to_jpeg(picture: np.ndarray, max_side: int = MAX_SIDE) -> bytes:
    """Return a JPEG file of a picture (H, W, 3) uint8 in RGB, made smaller if a side is longer than ``max_side``."""
    import cv2

    factor = max_side / max(picture.shape[:2])
    if factor < 1:
        size = [max(round(side * factor), 1) for side in picture.shape[1::-1]]
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    _, content = cv2.imencode('.jpg', picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return content.tobytes()


def _name(sample: Any, dataset: Any) -> str:
    """Return the path of an image, relative to the root of its dataset if it lies there; empty if it has none."""
    path, root = sample.get('img_path'), getattr(dataset, 'data_root', None)
    inside = bool(path and root) and Path(path).is_relative_to(str(root))
    return str(Path(path).relative_to(str(root))) if inside else str(path or '')


def _nth(data_batch: Any, index: int) -> torch.Tensor | None:
    """Return an image of a batch (C, H, W) before its preprocessing; None with test-time augmentation."""
    inputs = data_batch.get('inputs') if isinstance(data_batch, dict) else None
    image = inputs[index] if inputs is not None and index < len(inputs) else None
    return image if isinstance(image, torch.Tensor) and image.ndim == 3 else None
