"""Ablations: trainings of variants of a backbone with several seeds each, and a table of the results.

A variant is a text with arguments of the backbone, as in 'head_interaction=conv,position=none', or 'default'.
"""

from __future__ import annotations

import re
import statistics
from pathlib import Path
from typing import Sequence

from mmengine.config import Config

from ..engine import UsageError, run_tool
from ..utils.fileio import write_json
from ..utils.tables import format_table
from .curves import METRICS, read_scalars

Results = dict[str, dict[int, float | None]]


def variant_options(variant: str) -> list[str]:
    """Return the settings of a variant for ``--cfg-options``.

    Raises:
        UsageError: The text is not a variant.
    """
    if variant == 'default':
        return []
    options = variant.split(',')
    if not all(re.fullmatch(r'\w+=.+', option) for option in options):
        raise UsageError(f'{variant!r} is no variant: give default, or argument=value,argument=value of the backbone.')
    return [f'model.backbone.{option}' for option in options]


def run_dir(work_dir: str | Path, variant: str, seed: int) -> Path:
    """Return the folder of a training."""
    return Path(work_dir) / f'{re.sub("[^A-Za-z0-9+_.-]+", "-", variant)}_seed{seed}'


def last_step(cfg: Config, name: str) -> int:
    """Return the step of the last validation in the log of a training: its number of epochs, or of iterations.

    Raises:
        UsageError: The config has neither, or its log counts the other one.
    """
    unit = next((unit for unit in ('epochs', 'iters') if (cfg.get('train_cfg') or {}).get(f'max_{unit}')), None)
    if unit is None:
        raise UsageError(f'{name} has no train_cfg with max_epochs or max_iters, so their length is not known.')
    logger = (cfg.get('default_hooks') or {}).get('logger') or {}
    by_epoch = unit == 'epochs'
    if logger.get('log_metric_by_epoch', True) != by_epoch:
        raise UsageError(
            f'{name} trains for max_{unit}, which its log does not count. Set --cfg-options '
            f'default_hooks.logger.log_metric_by_epoch={by_epoch}'
        )
    return cfg.train_cfg[f'max_{unit}']


def read_result(folder: Path, metric: str, last: int) -> float | None:
    """Return the metric at the last step; None while a training is not finished."""
    try:
        _, val = read_scalars(folder)
    except FileNotFoundError:
        return None
    return next((record[metric] for record in reversed(val) if record['step'] >= last and metric in record), None)


def read_results(
    work_dir: str | Path, variants: Sequence[str], seeds: Sequence[int], metric: str, last: int
) -> Results:
    """Return the results of all trainings, by variant and seed."""
    return {
        variant: {seed: read_result(run_dir(work_dir, variant, seed), metric, last) for seed in seeds}
        for variant in variants
    }


def train(config: str, work_dir: str | Path, variant: str, seed: int, cfg_options: Sequence[str]) -> None:
    """Train a variant in a new process, resuming from its last checkpoint if there is one.

    Raises:
        UsageError: The training failed.
    """
    folder = run_dir(work_dir, variant, seed)
    options = (f'randomness.seed={seed}', *variant_options(variant), *cfg_options)
    run_tool('train.py', config, '--work-dir', str(folder), '--resume', '--cfg-options', *options)
    for checkpoint in folder.glob('*.pth'):
        checkpoint.unlink()  # only needed to resume


def write_results(results: Results, metric: str, work_dir: str | Path) -> str:
    """Write the results as JSON, and return them as a table."""
    write_json(Path(work_dir) / 'results.json', dict(metric=metric, results=results))
    rows = []
    for variant, of_seeds in results.items():
        done = [value for value in of_seeds.values() if value is not None]
        mean = f'{statistics.mean(done):.3f}' if done else ''
        spread = f'{statistics.stdev(done):.3f}' if len(done) > 1 else ''
        each = ', '.join('not trained' if value is None else f'{value:.3f}' for value in of_seeds.values())
        rows.append([f'`{variant}`', mean, spread, each])
    return format_table(['variant', f'{METRICS[metric]}, mean', 'standard deviation', 'each seed'], rows)


def run_ablation(
    cfg: Config,
    config: str,
    variants: Sequence[str],
    seeds: Sequence[int],
    work_dir: str | Path,
    metric: str,
    num_trainings: int | None = None,
    cfg_options: Sequence[str] = (),
) -> str:
    """Run the unfinished trainings, write the results, and return them as a table.

    Args:
        cfg (Config): Config with all options, as the trainings read it.
        config (str): Path of the config.
        variants (Sequence[str]): Variants of the backbone.
        seeds (Sequence[int]): Seeds of each variant. All variants are trained with one seed before the next.
        work_dir (str | Path): Folder of all trainings and of ``results.json``.
        metric (str): One of :data:`~mmrest.analysis.METRICS`.
        num_trainings (int, optional): Maximum number of trainings; default: all.
        cfg_options (Sequence[str]): Options 'key=value' for all trainings.

    Raises:
        UsageError: A text is not a variant, the length of the trainings is not known, or a training failed.
    """
    for variant in variants:
        variant_options(variant)  # check all before the first training
    last = last_step(cfg, config)
    results = read_results(work_dir, variants, seeds, metric, last)
    # Seed by seed, for an early table of fewer seeds.
    todo = [(variant, seed) for seed in seeds for variant in variants if results[variant][seed] is None]
    for i, (variant, seed) in enumerate(todo[:num_trainings], 1):
        print(f'\nTraining {i} of {len(todo)}: {variant}, seed {seed}', flush=True)
        train(config, work_dir, variant, seed, cfg_options)
    return write_results(read_results(work_dir, variants, seeds, metric, last), metric, work_dir)
