"""Checks of a config before anything is built from it: each mistake is one sentence."""

from __future__ import annotations

import logging

from mmengine.config import Config
from mmengine.logging import print_log

from ..errors import UsageError
from .backends import find_missing_backends
from .keys import find_ignored_keys, find_near_names, find_unknown_keys
from .preprocessors import find_preprocessor_faults
from .weights import find_unreachable_files
from .workers import drop_worker_settings, find_loader_faults

__all__ = ['check_downloads', 'drop_worker_settings', 'validate']


def validate(cfg: Config, phases: tuple[str, ...] = ('train', 'val')) -> None:
    """Check what a config says about loops, hooks, optimizer, data loaders, preprocessing and logging.

    Nothing is built and no file is opened; see :func:`check_downloads` for weights.

    Args:
        cfg (Config): Whole config; stays as it is.
        phases (tuple[str]): Which of 'train', 'val' and 'test' are going to run; parts of others are not looked at.

    Raises:
        UsageError: Something in it cannot work or would be ignored; a line for each mistake, with its dotted path.
    """
    for warning in [*find_near_names(cfg), *find_ignored_keys(cfg, phases)]:
        print_log(warning, logger='current', level=logging.WARNING)
    faults = [
        *find_unknown_keys(cfg, phases),
        *find_loader_faults(cfg, phases),
        *find_preprocessor_faults(cfg),
        *find_missing_backends(cfg),
    ]
    if faults:
        raise UsageError('\n'.join(dict.fromkeys(faults)))


def check_downloads(cfg: Config, train: bool = True) -> None:
    """Download the weights that a config names by URL; what is there from before is not downloaded again.

    Args:
        cfg (Config): Whole config.
        train (bool): The model is going to be trained, which starts with the weights of its ``init_cfg``.

    Raises:
        UsageError: Some cannot be had; a line for each, with its dotted path and what to do.
    """
    faults = find_unreachable_files(cfg, train)
    if faults:
        raise UsageError('\n'.join(faults))
