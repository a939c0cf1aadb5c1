"""Iteration over the datasets and metrics of a config."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mmengine.registry import DATASETS


def nested_datasets(config: Any, pipeline: Sequence | None = None) -> Iterator[tuple[dict, list]]:
    """Yield the datasets in the config of a data loader or wrapper, with their pipelines.

    A dataset without a pipeline uses that of the wrapper around it.

    Args:
        config (dict | list): Config of a data loader or dataset, or a list of these.
        pipeline (sequence, optional): Pipeline of the enclosing wrapper.
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
    """Yield the metrics in the config of an evaluator: a metric, a list, or a wrapper with ``metrics``."""
    if isinstance(config, (list, tuple)):
        for one in config:
            yield from nested_metrics(one)
    elif isinstance(config, dict):
        if config.get('metrics'):
            yield from nested_metrics(config['metrics'])
        else:
            yield config


def dataset_class(config: dict, scope: str | None = None) -> type | None:
    """Return the class of a dataset config; None if its type is not registered.

    Args:
        config (dict): Config of a dataset.
        scope (str, optional): Default scope of its type. Default: the current scope.
    """
    kind = config.get('type')
    if isinstance(kind, str):
        with DATASETS.switch_scope_and_registry(scope) as registry:
            kind = registry.get(kind)
    return kind
