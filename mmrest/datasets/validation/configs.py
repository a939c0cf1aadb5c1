"""Datasets and metrics in the config of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mmengine.registry import DATASETS


def nested_datasets(config: Any, pipeline: Sequence | None = None) -> Iterator[tuple[dict, list]]:
    """Yield the datasets in a data loader or wrapper, with the pipeline that loads their images.

    That is their own, or that of a wrapper around one that has none.

    Args:
        config (dict | list): Of a data loader, a dataset, or several.
        pipeline (sequence, optional): Of what is around it.
    """
    if isinstance(config, (list, tuple)):
        for one in config:
            yield from nested_datasets(one, pipeline)
    elif isinstance(config, dict):
        inner = [config[key] for key in ('dataset', 'datasets') if config.get(key)]
        if inner:
            yield from nested_datasets(inner, config.get('pipeline') or pipeline)
        else:
            yield config, list(config.get('pipeline') or pipeline or [])


def nested_metrics(config: Any) -> Iterator[dict]:
    """Yield the metrics in an evaluator: one, a list of them, or a wrapper with ``metrics``."""
    if isinstance(config, (list, tuple)):
        for one in config:
            yield from nested_metrics(one)
    elif isinstance(config, dict):
        if config.get('metrics'):
            yield from nested_metrics(config['metrics'])
        else:
            yield config


def dataset_class(config: dict, scope: str | None = None) -> type | None:
    """Return the class that a dataset's config names; None if there is none of that name.

    Args:
        config (dict): Of a dataset.
        scope (str, optional): The library that a name without one belongs to; default: the current scope.
    """
    kind = config.get('type')
    if isinstance(kind, str):
        with DATASETS.switch_scope_and_registry(scope) as registry:
            kind = registry.get(kind)
    return kind
