"""Availability of the weights that a config refers to, by URL or by path."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Iterator

from mmengine.config import Config

from ...checkpoints import CheckpointError, DownloadError, check_url, fetch, resolve
from ...checkpoints.downloads import WEB
from ...checkpoints.hub import HUB
from ..paths import similar

# Keys of a model config with the path or URL of weights.
KEYS = ('checkpoint', 'pretrained')


def find_unavailable_weights(cfg: Config, train: bool) -> list[str]:
    """Download the weights of a config, and return an error for each that is not available.

    In a distributed run, the first process of each machine downloads; the others only query the server, or wait for the
    file of a hub.

    Args:
        cfg (Config): Full config.
        train (bool): Include the weights of ``init_cfg``, which only training loads.
    """
    errors = []
    for path, name in _names(cfg, train):
        try:
            url = resolve(name)
            if url.startswith(HUB):  # whose cache has locks
                fetch(url)
            elif url.startswith(WEB):
                (fetch if _is_first_process(cfg) else check_url)(url)
        except DownloadError as error:
            shown = name if name == url else f'{name} ({url})'
            errors.append(
                f'{path} is {shown}, which cannot be downloaded: {error.reason}. Without network access, '
                'download it elsewhere and give the path of the file: --cfg-options '
                f'{path}=/path/to/file.pth'
            )
        except CheckpointError as error:
            errors.append(f'{path}: {error}')
    return errors


def find_missing_weights(cfg: Config) -> list[str]:
    """Return an error for each local file of an ``init_cfg`` of type 'Pretrained' that does not exist."""
    errors = []
    for path, name in _nested(cfg.get('model'), 'model', local=True):
        if not Path(name).expanduser().is_file():
            init_cfg = path.rsplit('.', 1)[0]
            # A list is replaced as a whole.
            owner = init_cfg.rsplit('.', 1)[0] if init_cfg.rsplit('.', 1)[-1].isdecimal() else init_cfg
            errors.append(
                f'{path} is {name}, which does not exist.{similar(Path(name))} Give the path of the weights '
                f'(docs/checkpoints.md says where to get them): --cfg-options {path}=/path/to/file.pth. '
                f'Or start from random weights: --cfg-options {owner}=None'
            )
    return errors


def _names(cfg: Config, train: bool) -> Iterator[tuple[str, str]]:
    """Yield dotted path and value of all weights that are not local files."""
    if isinstance(cfg.get('load_from'), str) and '://' in cfg.load_from:
        yield 'load_from', cfg.load_from
    if train:
        yield from _nested(cfg.get('model'), 'model')


def _nested(part: Any, path: str, local: bool = False) -> Iterator[tuple[str, str]]:
    """Yield dotted path and value of nested weights: URLs, or with ``local`` the files of type 'Pretrained'."""
    if isinstance(part, (list, tuple)):
        part = dict(enumerate(part))
    for key, value in part.items() if isinstance(part, dict) else ():
        if key in KEYS and isinstance(value, str) and ('://' in value) != local:
            if not local or (key == 'checkpoint' and part.get('type') == 'Pretrained'):
                yield f'{path}.{key}', value
        else:
            yield from _nested(value, f'{path}.{key}', local)


def _is_first_process(cfg: Config) -> bool:
    local = 'SLURM_LOCALID' if cfg.get('launcher') == 'slurm' else 'LOCAL_RANK'
    return os.environ.get(local, '0') == '0'
