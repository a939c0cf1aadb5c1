"""Validation of worker settings of data loaders."""

from __future__ import annotations

from typing import Any, Iterator

from mmengine.config import Config
from mmengine.logging import print_log

PHASES = ('train', 'val', 'test')
# Settings of torch's DataLoader that require worker processes, with their disabled values.
WORKER_SETTINGS = dict(persistent_workers=False, prefetch_factor=None, multiprocessing_context=None, timeout=0)


def find_loader_errors(cfg: Config, phases: tuple[str, ...]) -> list[str]:
    """Return an error for each data loader setting that is not compatible with the number of workers."""
    errors = []
    for name, loader in _loaders(cfg, phases):
        number = loader.get('num_workers', 0)
        if type(number) is not int or number < 0:
            errors.append(f'{name}.num_workers must be an integer of at least 0, got {number!r}.')
        elif number == 0:
            for key in _needing_workers(loader):
                errors.append(
                    f'{name}.{key}={loader[key]!r} needs worker processes, and {name}.num_workers is 0: set '
                    f'{name}.{key}={WORKER_SETTINGS[key]!r}, or {name}.num_workers=1 or more.'
                )
        elif loader.get('prefetch_factor') is not None and not _positive(loader['prefetch_factor']):
            errors.append(f'{name}.prefetch_factor must be a positive integer, got {loader["prefetch_factor"]!r}.')
    return errors


def drop_worker_settings(cfg: Config, options: dict[str, Any]) -> None:
    """Disable the settings that require worker processes in loaders whose num_workers is set to 0 by an option.

    Args:
        cfg (Config): Config with the options merged; changed in place.
        options (dict): Options by dotted key. Settings given as options are kept, see :func:`find_loader_errors`.
    """
    for name, loader in _loaders(cfg, PHASES):
        if options.get(f'{name}.num_workers') == 0:
            dropped = [key for key in _needing_workers(loader) if f'{name}.{key}' not in options]
            for key in dropped:
                loader[key] = WORKER_SETTINGS[key]
            if dropped:
                print_log(f'Disabled {" and ".join(dropped)} of {name}, since num_workers is 0.', logger='current')


def _loaders(cfg: Config, phases: tuple[str, ...]) -> Iterator[tuple[str, dict]]:
    for phase in phases:
        name = f'{phase}_dataloader'
        if isinstance(cfg.get(name), dict):
            yield name, cfg[name]


def _needing_workers(loader: dict) -> list[str]:
    return [key for key, unused in WORKER_SETTINGS.items() if loader.get(key, unused) not in (unused, None)]


def _positive(value: Any) -> bool:
    return type(value) is int and value > 0
