"""Checkpoints to share: the weights of a training checkpoint, and what others need to use them.

The ``publish_model.py`` tools of OpenMMLab keep all paths in the config of a checkpoint, read it with pickle, and write
a pickle.
"""

from __future__ import annotations

import json
import math
import os
import re
import tempfile
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Mapping, Sequence

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor

from ..apis.models import choose_classes
from ..checkpoints import CheckpointError, fetch, hash_tensors, load_file, save_checkpoint, unwrap_state_dict
from ..checkpoints.loading import CONTAINERS
from ..checkpoints.safetensors_io import HASH, SUFFIX, import_safetensors
from ..checkpoints.saving import check_destination, hash_file
from ..engine import base_datasets, load_config
from ..utils.fileio import read_json_lines
from ..version import __version__
from .shared_config import SharedConfig, find_traces, share_config

SUFFIXES = (SUFFIX, '.pth')
# What is kept of the ``meta`` of mmengine, of files of tools/convert_checkpoint.py, and of published files.
KEPT = ('epoch', 'iter', 'seed', 'mmengine_version', 'layout', 'arch', 'settings', 'target', 'averaged', 'metrics')
AVERAGES = 'ema_state_dict'
HASH_DIGITS = 8  # in the name of a file, as in OpenMMLab


@dataclass
class Published:
    """Published checkpoint.

    Attributes:
        path (Path): Written file.
        source (str): Path or URL of the training checkpoint.
        state_dict (OrderedDict[str, Tensor]): Published weights.
        meta (dict): Published metadata.
        weights (str): Description of the weights.
        left_out (list[str]): Parts of the checkpoint that are not published.
        notes (list[str]): Notes for whoever publishes the file.
        traces (list[str]): Names in the metadata that tell about this machine or account.
    """

    path: Path
    source: str
    state_dict: OrderedDict[str, Tensor]
    meta: dict[str, Any]
    weights: str
    left_out: list[str]
    notes: list[str] = field(default_factory=list)
    traces: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        numbers = sum(value.numel() for value in self.state_dict.values())
        lines = [
            f'{self.source}: {len(self.state_dict)} tensors, {numbers:,} numbers',
            f'weights: {self.weights}',
            f'left out: {", ".join(self.left_out) or "nothing"}',
            *self.notes,
            f'sha256 of the tensors: {self.meta[HASH]}',
        ]
        if self.traces:
            lines.append(
                f'PLEASE CHECK: the metadata contain {", ".join(self.traces)}. --no-config leaves out the config.'
            )
        return '\n  '.join(lines)


def publish(
    checkpoint: str,
    out: str | Path | None = None,
    config: str | None = None,
    with_config: bool = True,
    with_hash: bool = False,
    overwrite: bool = False,
) -> Published:
    """Write the weights of a training checkpoint that are tested, with metadata, and nothing else.

    No code of the checkpoint is run. The metadata are ``meta`` of the new file: ``cfg``, the config from
    :func:`~mmrest.converters.shared_config.share_config`; ``dataset_meta``, the classes and their colors; ``metrics``
    of these weights, if the log of the run is beside the checkpoint; the name and SHA-256 of the checkpoint, its epoch,
    iteration and seed; and versions.

    Args:
        checkpoint (str): Path or URL of a checkpoint.
        out (str | Path, optional): File to write, .safetensors or .pth. Default: a safetensors file of the same name.
        config (str, optional): Config file of the model. Default: the config in the checkpoint.
        with_config (bool): Publish the config.
        with_hash (bool): Append the first digits of the file's SHA-256 to its name.
        overwrite (bool): Replace an existing file.

    Raises:
        UsageError: The config cannot be used.
        CheckpointError: The checkpoint cannot be read, is refused, or holds no weights; or the file cannot be written.
    """
    out = Path(out or _default_path(checkpoint)).expanduser()
    if out.suffix.lower() not in SUFFIXES:
        raise CheckpointError(f'{out} must end in {" or ".join(SUFFIXES)}.')
    check_destination(checkpoint, out, overwrite)
    if out.suffix.lower() == SUFFIX:
        import_safetensors(out, f'write a file of PyTorch: --out {out.stem}_published.pth')
    path = fetch(checkpoint)
    content = load_file(path)
    held = content.get('meta') if isinstance(content, Mapping) else None
    held = held if isinstance(held, Mapping) else {}
    cfg = load_config(config) if config else None
    text = held.get('cfg')
    shared = share_config(cfg or text) if cfg or isinstance(text, str) else SharedConfig()
    state_dict, weights, averaged = choose_weights(content, shared.values, checkpoint)
    when, metrics = find_metrics(path, held, shared.values)
    if averaged:  # mmpretrain's EMAHook may test the other weights as well
        metrics = {key: value for key, value in metrics.items() if not key.endswith('_origin')}
    meta: dict[str, Any] = dict(source=Path(checkpoint).name, source_sha256=hash_file(path))
    meta.update({key: held[key] for key in KEPT if isinstance(held.get(key), (int, float, str, list, dict))})
    new = dict(
        averaged=averaged,
        dataset_meta=_dataset_meta(cfg, held),
        cfg=shared.text if with_config else '',
        metrics=metrics,
    )
    meta.update({key: value for key, value in new.items() if value not in (None, '', {})})
    notes = [
        f'classes: {_listed(meta["dataset_meta"]["classes"])}' if 'dataset_meta' in meta else 'classes: unknown',
        *_describe_config(shared, 'of the file' if config else 'of the checkpoint', with_config),
        _describe_metrics(when, metrics, 'metrics' in meta),
    ]
    traces = find_traces(json.dumps(meta))
    meta.update(
        {'mmrest_version': __version__, 'torch_version': str(torch.__version__), HASH: hash_tensors(state_dict)}
    )
    written = _write(dict(meta=meta, state_dict=state_dict), out, with_hash)
    return Published(written, checkpoint, state_dict, meta, weights, _left_out(content), notes, traces)


def choose_weights(
    checkpoint: Any, config: Mapping[str, Any], source: str
) -> tuple[OrderedDict[str, Tensor], str, bool | None]:
    """Return the weights of a checkpoint that tools/test.py tests.

    mmengine's EMAHook stores the averaged weights as ``state_dict`` and the others as ``ema_state_dict``. Tests use the
    averaged ones, unless the EMAHook of mmpretrain has ``evaluate_on_ema=False``.

    Args:
        checkpoint: Content of the file.
        config (Mapping): Top-level variables of the config.
        source (str): Name of the checkpoint, for messages.

    Returns:
        tuple[OrderedDict[str, Tensor], str, bool | None]: Weights, their description, and True for averaged ones, False
        for others of a run with averaging, None for those of a run without averaging.

    Raises:
        CheckpointError: There are no weights.
    """
    state_dict = unwrap_state_dict(checkpoint, source)
    others = checkpoint.get(AVERAGES)
    if not isinstance(others, Mapping):
        return state_dict, 'those that tools/test.py loads', None
    hooks = [hook for hook in config.get('custom_hooks') or () if isinstance(hook, dict)]
    emas = [hook for hook in hooks if str(hook.get('type')).endswith('EMAHook')]
    if all(hook.get('evaluate_on_ema', True) for hook in emas):
        return state_dict, f'averaged by EMAHook, as tools/test.py tests them; {AVERAGES} holds the others', True
    for key, value in others.items():
        if key.startswith('module.'):
            state_dict[key.removeprefix('module.')] = value
    return state_dict, 'not averaged, as tools/test.py tests them: the EMAHook has evaluate_on_ema=False', False


def find_metrics(path: Path, meta: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[str, dict[str, float]]:
    """Find the validation metrics of a checkpoint in the log of its run, in the folder of the checkpoint.

    Args:
        path (Path): Checkpoint.
        meta (Mapping): ``meta`` of the checkpoint; ``experiment_name`` ends in the name of the log folder.
        config (Mapping): Top-level variables of the config.

    Returns:
        tuple[str, dict[str, float]]: Epoch or iteration of the validation, empty if the log has none, and its metrics
        by name, none if the model had found nothing.
    """
    stamp = re.search(r'\d{8}_\d{6}$', str(meta.get('experiment_name')))
    log = path.parent / stamp[0] / 'vis_data' / 'scalars.json' if stamp else None
    if log is None or not log.is_file():
        return '', {}
    logger = (config.get('default_hooks') or {}).get('logger') or {}
    unit = 'epoch' if logger.get('log_metric_by_epoch', True) else 'iter'
    step, metrics, validated = meta.get(unit), {}, False
    for record in read_json_lines(log):
        # A training record has the number of its iteration as step.
        if record.get('step') == step and not {'lr', 'loss'} & set(record):
            validated = True
            metrics = {
                key: float(value)
                for key, value in record.items()
                if key not in ('step', 'time', 'data_time') and isinstance(value, (int, float)) and math.isfinite(value)
            }
    return f'{"epoch" if unit == "epoch" else "iteration"} {step}' if validated else '', metrics


def _default_path(checkpoint: str) -> Path:
    """Return the path of a safetensors file beside a checkpoint, or in the current folder for a URL."""
    path = Path(checkpoint.rpartition('/')[2] if '://' in checkpoint else checkpoint)
    return path.expanduser().with_suffix(SUFFIX)


def _dataset_meta(cfg: Config | None, meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``classes`` and ``palette``; other keys may hold paths."""
    dataset: dict = {}
    if cfg is not None:
        init_default_scope(cfg.get('default_scope') or 'mmengine')
        dataset = next(base_datasets(cfg.get('test_dataloader')), {})
    classes, palette = choose_classes(dataset, meta)
    found = dict(classes=list(classes), palette=[list(color) for color in palette])
    return {key: value for key, value in found.items() if value}


def _left_out(checkpoint: Mapping[str, Any]) -> list[str]:
    """Return the parts of a checkpoint beside the weights that are loaded; those of ``meta`` are described."""
    used = next((name for name in CONTAINERS if isinstance(checkpoint.get(name), Mapping)), None)
    return [str(key) for key in checkpoint if key not in (used, 'meta')] if used else []


def _describe_config(shared: SharedConfig, origin: str, with_config: bool) -> list[str]:
    if not with_config or not shared.text:
        return ['config: left out' if shared.text else 'config: none, as the checkpoint has none and no file was given']
    lines = [f'config: {origin}']
    if shared.removed:
        lines.append(f'  removed from it: {", ".join(shared.removed)}')
    if shared.shortened:
        lines.append(f'  paths of which the last part is kept: {", ".join(shared.shortened)}')
    return lines


def _describe_metrics(when: str, metrics: Mapping[str, float], kept: bool) -> str:
    if metrics:
        return f'metrics of {when}: ' + ', '.join(f'{key} {value:g}' for key, value in metrics.items())
    if kept:
        return 'metrics: those in the checkpoint'
    if when:
        return f'metrics: none, as the model found nothing in the validation of {when}'
    return 'metrics: none, as there is no log of a validation of these weights beside the checkpoint'


def _listed(names: Sequence[str], most: int = 10) -> str:
    return ', '.join(map(str, names[:most])) + (f' and {len(names) - most} more' if len(names) > most else '')


def _write(checkpoint: dict[str, Any], out: Path, with_hash: bool) -> Path:
    if not with_hash:
        save_checkpoint(checkpoint, out)
        return out
    with tempfile.TemporaryDirectory(prefix='.', dir=out.parent) as folder:
        written = Path(folder) / out.name
        save_checkpoint(checkpoint, written)
        named = out.with_name(f'{out.stem}-{hash_file(written)[:HASH_DIGITS]}{out.suffix}')
        os.replace(written, named)
    return named
