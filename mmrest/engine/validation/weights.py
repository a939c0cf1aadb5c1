"""Weights that a config names by URL, and that cannot be had."""

from __future__ import annotations

import os
from typing import Any, Iterator

from mmengine.config import Config

from ...checkpoints import CheckpointError, DownloadError, check_url, download, resolve
from ...checkpoints.downloads import WEB

# Keys of a model's config whose value is the place of weights.
KEYS = ('checkpoint', 'pretrained')


def find_unreachable_files(cfg: Config, train: bool) -> list[str]:
    """Download what a config names by URL, and return a sentence for each that cannot be had.

    In a distributed run the first process of a machine downloads, the others only ask the server.

    Args:
        cfg (Config): Whole config.
        train (bool): The model is going to be trained, which starts with the weights of its ``init_cfg``.
    """
    faults = []
    for path, name in _names(cfg, train):
        try:
            url = resolve(name)
            if url.startswith(WEB):
                (download if _is_first_process(cfg) else check_url)(url)
        except DownloadError as error:
            said = name if name == url else f'{name} ({url})'
            faults.append(
                f'{path} is {said}, which cannot be downloaded: {error.reason}. To go on without network, '
                'download it elsewhere and give the path of the file: --cfg-options '
                f'{path}=/path/to/file.pth'
            )
        except CheckpointError as error:
            faults.append(f'{path}: {error}')
    return faults


def _names(cfg: Config, train: bool) -> Iterator[tuple[str, str]]:
    """Yield the path and value of everything that names weights elsewhere than in a local file."""
    if isinstance(cfg.get('load_from'), str) and '://' in cfg.load_from:
        yield 'load_from', cfg.load_from
    if train:
        yield from _nested(cfg.get('model'), 'model')


def _nested(part: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(part, (list, tuple)):
        part = dict(enumerate(part))
    for key, value in part.items() if isinstance(part, dict) else ():
        if key in KEYS and isinstance(value, str) and '://' in value:
            yield f'{path}.{key}', value
        else:
            yield from _nested(value, f'{path}.{key}')


def _is_first_process(cfg: Config) -> bool:
    local = 'SLURM_LOCALID' if cfg.get('launcher') == 'slurm' else 'LOCAL_RANK'
    return os.environ.get(local, '0') == '0'
