"""Checks of the datasets of a config before a run."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any, Iterator

from mmengine.config import Config

from ..datasets.validation import SWITCH, find_inconsistencies, nested_datasets, nested_metrics
from ..utils.resources import tool_command
from .errors import UsageError
from .validation.models import find_model_errors
from .validation.signatures import closest_match

# mmengine runs code contained in files of these formats.
UNSAFE_SUFFIXES = ('.pkl', '.pickle', '.yaml', '.yml')


def base_datasets(config: Any) -> Iterator[dict]:
    """Yield the dataset configs in a dataloader, a list, or a wrapper such as RepeatDataset or ConcatDataset."""
    for dataset, _ in nested_datasets(config):
        yield dataset


def check_data(cfg: Config, phases: tuple[str, ...] = ('train', 'val')) -> None:
    """Check that annotation files and image folders of the datasets exist.

    Only local paths are checked. Annotation formats that can run code are refused unless the config sets
    ``allow_pickle = True``.

    Args:
        cfg (Config): Full config.
        phases (tuple[str]): Subset of 'train', 'val' and 'test' to check.

    Raises:
        UsageError: A file or folder is missing, with advice on how to provide it, or an annotation file is refused.
    """
    missing = {}
    for phase in phases:
        for dataset in base_datasets(cfg.get(f'{phase}_dataloader')):
            if not cfg.get('allow_pickle'):
                _refuse_pickles(dataset)
        paths = _paths_of_phase(cfg, phase)
        missing.update((path, phase) for path in paths if not Path(path).exists() and path not in missing)
    if missing:
        # List a missing folder, not the files in it.
        paths = [path for path in missing if not any(Path(other) in Path(path).parents for other in missing)]
        used = {Path(path) for phase in ('train', 'val', 'test') for path in _paths_of_phase(cfg, phase)}
        near = {path: closest_match(Path(path).name, _siblings(Path(path), used)) for path in paths}
        listed = '\n'.join(
            f'  {path}  (for {missing[path]})' + (f'. Did you mean {near[path]}?' if near[path] else '')
            for path in paths
        )
        is_misspelled = all(near.values()) and Path(find_root(cfg)).exists()
        advice = '' if is_misspelled else f'\n{_advice(cfg)}'
        raise UsageError(f'Data of this config are missing:\n{listed}{advice}')


def is_unused_data_root(path: Path) -> bool:
    """Return True if a config, or the base config it inherits ``data_root`` from, sets that variable without using it.

    Args:
        path (Path): Config file in Python.
    """
    try:
        tree = ast.parse(path.read_text(encoding='utf-8'))
    except (OSError, SyntaxError, UnicodeDecodeError):
        return False
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    uses = [type(node.ctx) for node in names if node.id == 'data_root']
    if ast.Store in uses:
        return ast.Load not in uses
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(getattr(target, 'id', '') == '_base_' for target in node.targets):
            bases = [each.value for each in ast.walk(node.value) if isinstance(each, ast.Constant)]
            return any(is_unused_data_root(path.parent / base) for base in bases if '::' not in str(base))
    return False


def check_batch_sizes(cfg: Config, phases: tuple[str, ...]) -> None:
    """Check the batch sizes of the data loaders; loaders with a batch sampler have none.

    Raises:
        UsageError: A batch size is not a positive integer.
    """
    for phase in phases:
        loader = cfg.get(f'{phase}_dataloader')
        size = loader.get('batch_size') if isinstance(loader, dict) else None
        if size is not None and not (isinstance(size, int) and size > 0):
            raise UsageError(f'{phase}_dataloader.batch_size must be a positive integer, got {size!r}.')


def check_consistency(cfg: Config, phases: tuple[str, ...]) -> None:
    """Check classes, heads and evaluators of a config against its datasets, unless it sets ``check_samples = False``.

    Raises:
        UsageError: They are inconsistent; the message names the keys and values.
    """
    if not cfg.get('check_samples', True):
        return
    try:
        kind, messages = next(find_inconsistencies(cfg, phases), ('', []))
    except ImportError:  # reported when the runner is built
        return
    if kind:  # the others may follow from the first, and this one from a misspelled name in the model
        raise UsageError('\n'.join(find_model_errors(cfg) or [*messages, f'{SWITCH}.']))


def find_root(cfg: Config) -> str:
    """Return the root folder of the datasets: ``data_root`` of the config if they use it, else the one they share.

    mmengine substitutes ``data_root`` while it reads a file. Overriding it in a config that inherits the datasets
    does not change them.

    Returns:
        str: Empty if there is no such folder.
    """
    roots = [
        dataset['data_root']
        for phase in ('train', 'val', 'test')
        for dataset in base_datasets(cfg.get(f'{phase}_dataloader'))
        if isinstance(dataset.get('data_root'), str)
    ]
    own = str(cfg.get('data_root') or '')
    if not roots or any(f'{root}/'.startswith(own.rstrip('/') + '/') for root in roots):
        return own
    shared = {root.rstrip('/') for root in roots}
    return roots[0] if len(shared) == 1 else own


def _refuse_pickles(dataset: dict) -> None:
    for key in ('ann_file', 'proposal_file'):
        for path in _strings(dataset.get(key)):
            if Path(path).suffix.lower() in UNSAFE_SUFFIXES:
                raise UsageError(
                    f'{path} is refused as {key}: mmengine would run code contained in a file of this '
                    'format. Use JSON, or if you trust the file: --cfg-options allow_pickle=True'
                )


def _paths_of_phase(cfg: Config, phase: str) -> list[str]:
    """Return the local paths of the datasets and evaluators of a phase."""
    paths = [path for dataset in base_datasets(cfg.get(f'{phase}_dataloader')) for path in _paths(dataset)]
    for evaluator in nested_metrics(cfg.get(f'{phase}_evaluator')):
        paths += _local(evaluator.get('ann_file'))
    return paths


def _paths(dataset: dict) -> list[str]:
    """Return the annotation files and folders of a dataset; only its root if that is missing."""
    roots = _strings(dataset.get('data_root'))
    if dataset.get('backend_args') or len(roots) > 1 or any('://' in root for root in roots):
        return []
    if roots and not Path(roots[0]).exists():
        return roots
    root = Path(roots[0] if roots else '')
    # A prefix may include the start of file names: img/train/shot_
    prefixes = [path if path.endswith('/') else str(Path(path).parent) for path in _local(dataset.get('data_prefix'))]
    if dataset.get('type') in ('ImageNet', 'mmpretrain.ImageNet') and not dataset.get('data_prefix'):
        prefixes += _strings(dataset.get('split'))  # its default folder
    return [str(root / path) for path in [*_local(dataset.get('ann_file')), *prefixes]]


def _local(value: Any) -> list[str]:
    """Return the local paths in a nested value."""
    return [path for path in _strings(value) if '://' not in path]


def _siblings(path: Path, used: set[Path]) -> list[str]:
    """Return the names of what is beside a missing path and has its suffix, without what the config uses elsewhere."""
    if not path.parent.is_dir():
        return []
    return [each.name for each in path.parent.iterdir() if each.suffix == path.suffix and each not in used]


def _strings(value: Any) -> list[str]:
    """Return the non-empty strings in a nested value."""
    if isinstance(value, str):
        return [value] if value else []
    if isinstance(value, dict):
        value = list(value.values())
    return [text for one in value for text in _strings(one)] if isinstance(value, (list, tuple)) else []


def _advice(cfg: Config) -> str:
    root = find_root(cfg)
    if 'shapes' in Path(root).name:
        return f'Draw them: {tool_command("draw_shapes.py")} {root}'
    if not root:
        return 'Put the data there, or change the paths in the config.'
    return (
        f'Put the data there, link to them (ln -s /path/to/data {root.rstrip("/")}), or name another place: '
        '--cfg-options data_root=/path/to/data/'
    )
