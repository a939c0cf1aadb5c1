"""Finding out before a run starts whether its data are there."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any, Iterator

from mmengine.config import Config

from ..datasets.validation import (
    SWITCH,
    find_mixed_classes,
    find_wrong_classes,
    find_wrong_evaluators,
    find_wrong_heads,
    nested_datasets,
    nested_metrics,
)
from ..utils.resources import tool_command
from .errors import UsageError

# Of files that mmengine reads in a way that lets them run code.
RUN_CODE = ('.pkl', '.pickle', '.yaml', '.yml')


def base_datasets(config: Any) -> Iterator[dict]:
    """The datasets in a dataloader, a list of them, or a wrapper such as RepeatDataset or ConcatDataset."""
    for dataset, _ in nested_datasets(config):
        yield dataset


def check_data(cfg: Config, phases: tuple[str, ...] = ('train', 'val')) -> None:
    """Check that annotation files and image folders of a config's datasets exist.

    Only what is plainly a local path is looked for; the rest is left to what reads it. Annotations in a format
    that can run code are refused, unless the config says ``allow_pickle = True``.

    Args:
        cfg (Config): Whole config.
        phases (tuple[str]): Which of 'train', 'val' and 'test' are going to run.

    Raises:
        UsageError: Something is missing; the message says what, and how to provide it. Or it is refused.
    """
    missing = {}
    for phase in phases:
        paths = []
        for dataset in base_datasets(cfg.get(f'{phase}_dataloader')):
            paths += _paths(dataset)
            if not cfg.get('allow_pickle'):
                _refuse_pickles(dataset)
        for evaluator in nested_metrics(cfg.get(f'{phase}_evaluator')):
            paths += _local(evaluator.get('ann_file'))
        missing.update((path, phase) for path in paths if not Path(path).exists() and path not in missing)
    if missing:
        # Files under a folder that is missing as well are not worth a line each.
        paths = [path for path in missing if not any(Path(other) in Path(path).parents for other in missing)]
        listed = '\n'.join(f'  {path}  (for {missing[path]})' for path in paths)
        raise UsageError(f'Data of this config are missing:\n{listed}\n{_advice(cfg)}')


def is_idle_root(path: Path) -> bool:
    """Tell whether a config, or the one it inherits ``data_root`` from, sets that variable and puts it into nothing.

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
            return any(is_idle_root(path.parent / base) for base in bases if '::' not in str(base))
    return False


def check_batch_sizes(cfg: Config, phases: tuple[str, ...]) -> None:
    """Check that the batches of a config's data loaders hold images; one that leaves them to a sampler has no size.

    Raises:
        UsageError: A size is no positive integer.
    """
    for phase in phases:
        loader = cfg.get(f'{phase}_dataloader')
        size = loader.get('batch_size') if isinstance(loader, dict) else None
        if size is not None and not (isinstance(size, int) and size > 0):
            raise UsageError(f'{phase}_dataloader.batch_size must be a positive integer, got {size!r}.')


def check_consistency(cfg: Config, phases: tuple[str, ...]) -> None:
    """Check that classes, heads and evaluators of a config fit its data; ``check_samples = False`` turns that off.

    Raises:
        UsageError: One does not; the message says which and names what does not fit.
    """
    if not cfg.get('check_samples', True):
        return
    scope = cfg.get('default_scope')
    datasets = [dataset for phase in phases for dataset in base_datasets(cfg.get(f'{phase}_dataloader'))]
    try:
        wrong_classes = find_wrong_classes(datasets, scope)
        if 'train' in phases:
            wrong_classes += find_mixed_classes(base_datasets(cfg.get('train_dataloader')), scope)
        if wrong_classes:
            raise UsageError('\n'.join([*wrong_classes, f'{SWITCH}.']))
        wrong = find_wrong_heads(cfg.get('model'), datasets, scope)
    except ImportError:  # a library is missing, which the runner says when it builds from the config
        return
    if wrong:
        raise UsageError('\n'.join(['The heads do not have the classes of the data:', *wrong]))
    wrong = find_wrong_evaluators(cfg, phases)
    if wrong:
        raise UsageError('\n'.join([*wrong, f'{SWITCH}.']))


def find_root(cfg: Config) -> str:
    """Return the folder that a config's datasets are in: its ``data_root``, if they use it, else one that all share.

    mmengine puts ``data_root`` into datasets as a file is read, so that another one in a config that inherits them
    changes none.

    Returns:
        str: '' where there is no such folder.
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
            if Path(path).suffix.lower() in RUN_CODE:
                raise UsageError(
                    f'{path} is refused as {key}: mmengine would run code that is in a file of that '
                    'format. Use JSON, or if you trust the file: --cfg-options allow_pickle=True'
                )


def _paths(dataset: dict) -> list[str]:
    """What a dataset reads: its annotation files and folders; if its root is missing, the root alone."""
    roots = _strings(dataset.get('data_root'))
    if dataset.get('backend_args') or len(roots) > 1 or any('://' in root for root in roots):
        return []
    if roots and not Path(roots[0]).exists():
        return roots
    root = Path(roots[0] if roots else '')
    # The prefix of file names may go on after the last folder: img/train/shot_
    prefixes = [path if path.endswith('/') else str(Path(path).parent) for path in _local(dataset.get('data_prefix'))]
    if dataset.get('type') in ('ImageNet', 'mmpretrain.ImageNet') and not dataset.get('data_prefix'):
        prefixes += _strings(dataset.get('split'))  # the folder of that name
    return [str(root / path) for path in [*_local(dataset.get('ann_file')), *prefixes]]


def _local(value: Any) -> list[str]:
    """The strings of a value that are local paths."""
    return [path for path in _strings(value) if '://' not in path]


def _strings(value: Any) -> list[str]:
    """The strings in a string, list or dict that are not empty."""
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
