"""Consistency of a config: classes, heads and evaluators against the datasets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mmengine.config import Config

from .classes import find_mixed_classes, find_wrong_classes
from .configs import nested_datasets
from .evaluators import find_wrong_evaluators
from .heads import find_wrong_heads


def find_inconsistencies(cfg: Config, phases: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield the inconsistencies of a config, causes first.

    Args:
        cfg (Config): Full config.
        phases (sequence[str]): Subset of 'train', 'val' and 'test' to check.

    Yields:
        tuple[str, list[str]]: A kind of inconsistency and a message for each occurrence.

    Raises:
        ImportError: A library that the config refers to is not installed.
    """
    scope = cfg.get('default_scope')
    datasets = {phase: [dataset for dataset, _ in nested_datasets(cfg.get(f'{phase}_dataloader'))] for phase in phases}
    all_datasets = [dataset for phase in phases for dataset in datasets[phase]]
    checks = (
        ('classes that the dataset type does not have', lambda: find_wrong_classes(all_datasets, scope)),
        ('training datasets with different classes', lambda: find_mixed_classes(datasets.get('train', []), scope)),
        ('head with a wrong number of classes', lambda: find_wrong_heads(cfg.get('model'), all_datasets, scope)),
        ('evaluator with annotations of another dataset', lambda: find_wrong_evaluators(cfg, phases)),
    )
    for kind, find in checks:
        messages = find()
        if messages:
            yield kind, messages
