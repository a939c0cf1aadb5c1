"""Average precisions of each class, as mmdet's metric for COCO computes them."""

from __future__ import annotations

from typing import Any

from mmengine.evaluator import BaseMetric

# Kinds of AP that have values for each class.
KINDS = dict(bbox='box AP', segm='mask AP')
# mmdet's table of classes has columns for the first and the sixth threshold.
MIN_THRESHOLDS = 6


class ClasswiseMetric(BaseMetric):
    """Metric that has a CocoMetric compute the AP of each class, and keeps it for boxes and masks.

    CocoMetric returns the AP of boxes and of masks under the same names, so that those of the boxes are lost.

    Args:
        metric (CocoMetric): Metric whose results these are; its ``classwise`` is set.

    Attributes:
        class_ap (dict): Of each kind in :data:`KINDS`, the AP in [0, 1] by name of the class.
    """

    def __init__(self, metric: Any) -> None:
        super().__init__(metric.collect_device, metric.prefix, metric.collect_dir)
        self.metric, self.keeps = metric, metric.classwise
        self.results = metric.results  # one list, so that it is cleared in both
        self.dataset_meta = metric.dataset_meta
        self.class_ap: dict[str, dict[str, float]] = {}
        metric.classwise = True

    def process(self, data_batch: Any, data_samples: Any) -> None:
        """Process a batch as the metric does."""
        self.metric.process(data_batch, data_samples)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Return what the metric returns, and keep the values of the classes."""
        merged: dict[str, float] = {}
        kinds = list(self.metric.metrics)
        for kind in kinds:
            self.metric.metrics = [kind]
            found = self.metric.compute_metrics(results)
            names = {name: f'{name}_precision' for name in self.dataset_meta['classes']}
            if kind in KINDS and found:
                self.class_ap[kind] = {name: float(found[key]) for name, key in names.items() if key in found}
            merged.update({key: value for key, value in found.items() if self.keeps or key not in set(names.values())})
        self.metric.metrics = kinds
        return merged


def add_classwise(metrics: list[BaseMetric]) -> list[ClasswiseMetric]:
    """Replace the metrics for COCO in a list, in place, by ones that keep the AP of each class.

    Metrics that only format results, and those with few IoU thresholds, for which mmdet computes no values of classes,
    stay as they are.

    Returns:
        list[ClasswiseMetric]: The new ones.
    """
    try:
        from mmdet.evaluation import CocoMetric
    except ImportError:
        return []
    for i, metric in enumerate(metrics):
        if isinstance(metric, CocoMetric) and set(metric.metrics) & set(KINDS):
            if not metric.format_only and len(metric.iou_thrs) >= MIN_THRESHOLDS:
                metrics[i] = ClasswiseMetric(metric)
    return [metric for metric in metrics if isinstance(metric, ClasswiseMetric)]
