"""Finding out before a run starts whether its data are there."""
from __future__ import annotations

from pathlib import Path
from typing import Iterator

from mmengine.config import Config

from .errors import UsageError


def base_datasets(dataset: dict) -> Iterator[dict]:
    """The datasets inside wrappers such as RepeatDataset and ConcatDataset, or the dataset itself."""
    inner = dataset.get('datasets') or ([dataset['dataset']] if dataset.get('dataset') else [])
    if not inner:
        yield dataset
    for one in inner:
        yield from base_datasets(one)


def check_data(cfg: Config, phases: tuple[str, ...] = ('train', 'val')) -> None:
    """Check that annotation files and image folders of a config's datasets exist.

    Args:
        cfg (Config): Whole config.
        phases (tuple[str]): Which of 'train', 'val' and 'test' are going to run.

    Raises:
        UsageError: Something is missing; the message says what, and how to provide it.
    """
    missing = {}
    for phase in phases:
        for dataset in base_datasets((cfg.get(f'{phase}_dataloader') or {}).get('dataset') or {}):
            root = dataset.get('data_root') or ''
            if '://' in root:
                continue  # remote storage is left to the backend that reads it
            paths = [dataset.get('ann_file'), *(dataset.get('data_prefix') or {}).values()]
            # A missing root says more than the files missing under it.
            paths = [root] if root and not _there(root) else [str(Path(root) / path) for path in paths if path]
            missing.update((path, phase) for path in paths if not _there(path) and path not in missing)
        paths = [evaluator.get('ann_file') for evaluator in _as_list(cfg.get(f'{phase}_evaluator'))]
        missing.update((path, phase) for path in paths if path and not _there(path) and path not in missing)
    if missing:
        # Files under a folder that is missing as well are not worth a line each.
        paths = [path for path in missing if not any(other != path and _under(path, other) for other in missing)]
        listed = '\n'.join(f'  {path}  (for {missing[path]})' for path in paths)
        raise UsageError(f'Data of this config are missing:\n{listed}\n{_advice(cfg)}')


def _advice(cfg: Config) -> str:
    root = str(cfg.get('data_root') or 'the data_root of the config')
    if 'shapes' in Path(root).name:
        return f'Draw them: python tools/draw_shapes.py {root}'
    return (f'Put the data there, link to them (ln -s /path/to/data {root.rstrip("/")}), or name another place: '
            '--cfg-options data_root=/path/to/data/')


def _as_list(value: dict | list | None) -> list:
    return [] if value is None else list(value) if isinstance(value, (list, tuple)) else [value]


def _there(path: str) -> bool:
    return '://' in str(path) or Path(path).exists()


def _under(path: str, folder: str) -> bool:
    return Path(folder) in Path(path).parents
