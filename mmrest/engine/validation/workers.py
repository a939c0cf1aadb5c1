"""Settings of data loaders that need worker processes, where there are none."""

from __future__ import annotations

from typing import Any, Iterator

from mmengine.config import Config
from mmengine.logging import print_log

PHASES = ('train', 'val', 'test')
# What torch's DataLoader takes only with worker processes, and the value that stands for "not used".
WORKER_SETTINGS = dict(persistent_workers=False, prefetch_factor=None, multiprocessing_context=None, timeout=0)


def find_loader_faults(cfg: Config, phases: tuple[str, ...]) -> list[str]:
    """Return a sentence for each data loader whose settings do not go with its number of worker processes."""
    faults = []
    for name, loader in _loaders(cfg, phases):
        number = loader.get('num_workers', 0)
        if type(number) is not int or number < 0:
            faults.append(f'{name}.num_workers must be an integer of at least 0, got {number!r}.')
        elif number == 0:
            for key in _needing_workers(loader):
                faults.append(
                    f'{name}.{key}={loader[key]!r} needs worker processes, and {name}.num_workers is 0: set '
                    f'{name}.{key}={WORKER_SETTINGS[key]!r}, or {name}.num_workers=1 or more.'
                )
        elif loader.get('prefetch_factor') is not None and not _positive(loader['prefetch_factor']):
            faults.append(f'{name}.prefetch_factor must be a positive integer, got {loader["prefetch_factor"]!r}.')
    return faults


def drop_worker_settings(cfg: Config, options: dict[str, Any]) -> None:
    """Turn off what needs worker processes in loaders that an option has left without any, and say so.

    Args:
        cfg (Config): With the options merged into it; changed in place.
        options (dict): Dotted keys to values. What they set themselves is left to :func:`find_loader_faults`.
    """
    for name, loader in _loaders(cfg, PHASES):
        if options.get(f'{name}.num_workers') == 0:
            dropped = [key for key in _needing_workers(loader) if f'{name}.{key}' not in options]
            for key in dropped:
                loader[key] = WORKER_SETTINGS[key]
            if dropped:
                print_log(
                    f'{name} has no worker processes now: {" and ".join(dropped)}, which '
                    f'need{"s" * (len(dropped) == 1)} them, {"is" if len(dropped) == 1 else "are"} off.',
                    logger='current',
                )


def _loaders(cfg: Config, phases: tuple[str, ...]) -> Iterator[tuple[str, dict]]:
    for phase in phases:
        name = f'{phase}_dataloader'
        if isinstance(cfg.get(name), dict):
            yield name, cfg[name]


def _needing_workers(loader: dict) -> list[str]:
    return [key for key, unused in WORKER_SETTINGS.items() if loader.get(key, unused) not in (unused, None)]


def _positive(value: Any) -> bool:
    return type(value) is int and value > 0
