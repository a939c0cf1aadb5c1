"""Validation of a config before anything is built from it."""

from __future__ import annotations

import logging

from mmengine.config import Config
from mmengine.logging import print_log

from ..errors import UsageError
from .backends import find_missing_backends
from .keys import find_ignored_keys, find_misspelled_names, find_unknown_keys
from .models import find_model_errors
from .preprocessors import find_preprocessor_errors
from .weights import find_missing_weights, find_unavailable_weights
from .workers import drop_worker_settings, find_loader_errors

__all__ = ['check_weights', 'drop_worker_settings', 'find_missing_weights', 'find_model_errors', 'validate']


def validate(cfg: Config, phases: tuple[str, ...] = ('train', 'val')) -> None:
    """Validate model, loops, hooks, optimizer, data loaders, preprocessing and logging of a config.

    Nothing is built and no file is opened. For weights, see :func:`check_weights`.

    Args:
        cfg (Config): Full config; not changed.
        phases (tuple[str]): Subset of 'train', 'val' and 'test' to validate.

    Raises:
        UsageError: A setting is invalid or would be ignored; one line per error, with its dotted path.
    """
    for warning in [*find_misspelled_names(cfg), *find_ignored_keys(cfg, phases)]:
        print_log(warning, logger='current', level=logging.WARNING)
    errors = [
        *find_unknown_keys(cfg, phases),
        *find_loader_errors(cfg, phases),
        *find_model_errors(cfg),
        *find_preprocessor_errors(cfg),
        *find_missing_backends(cfg),
    ]
    if errors:
        raise UsageError('\n'.join(dict.fromkeys(errors)))


def check_weights(cfg: Config, train: bool = True) -> None:
    """Find the weights that a config refers to: download those at a URL, unless they are cached.

    Args:
        cfg (Config): Full config.
        train (bool): Include the weights of ``init_cfg``, which only training loads.

    Raises:
        UsageError: Weights cannot be downloaded, or the file of an ``init_cfg`` does not exist; one line for each, with
            its dotted path.
    """
    errors = [*(find_missing_weights(cfg) if train else ()), *find_unavailable_weights(cfg, train)]
    if errors:
        raise UsageError('\n'.join(errors))
