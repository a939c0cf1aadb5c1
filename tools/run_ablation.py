"""Train variants of a backbone with several seeds each, one training after the other, and tabulate them.

A variant is a list of arguments of the backbone, as in `head_interaction=conv,position=none`, or `default`. Run it
again after an interruption: finished trainings are kept, the others go on from their last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
from pathlib import Path

from mmengine.config import Config

from mmrest.analysis import METRICS, read_scalars
from mmrest.checkpoints import use_safe_loading
from mmrest.engine import UsageError, exit_on_user_error, load_config
from mmrest.utils.cli import ArgumentParser, ConfigOptions

REPO = Path(__file__).resolve().parents[1]
VARIANTS = ('default', 'head_interaction=conv', 'head_interaction=none', 'position=none')


def parse_args() -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('--variants', nargs='+', default=VARIANTS, help='arguments of the backbone, with commas')
    parser.add_argument('--seeds', nargs='+', type=int, default=(0, 1, 2))
    parser.add_argument('--config', default=str(REPO / 'configs/ablations/retinanet_rest_lite_fpn_shapes-96.py'))
    parser.add_argument('--work-dir', default='work_dirs/ablation', help='folder of all trainings and of the table')
    parser.add_argument('--metric', default='coco/bbox_mAP', choices=list(METRICS))
    parser.add_argument('--limit', type=int, default=sys.maxsize, help='stop after that many trainings')
    parser.add_argument('--cfg-options', nargs='+', default=[], help='handed on to train.py')
    return parser.parse_args()


def run_dir(work_dir: str, variant: str, seed: int) -> Path:
    return Path(work_dir) / f'{re.sub("[^A-Za-z0-9+_.-]+", "-", variant)}_seed{seed}'


def last_step(cfg: Config, name: str) -> int:
    """The step of the last validation in the log of a training: its number of epochs, or of iterations.

    Raises:
        UsageError: The config has neither, or its log counts the other one.
    """
    unit = next((unit for unit in ('epochs', 'iters') if (cfg.get('train_cfg') or {}).get(f'max_{unit}')), None)
    if unit is None:
        raise UsageError(f'{name} has no train_cfg with max_epochs or max_iters: how long trainings are is not known.')
    logger = (cfg.get('default_hooks') or {}).get('logger') or {}
    by_epoch = unit == 'epochs'
    if logger.get('log_metric_by_epoch', True) != by_epoch:
        raise UsageError(
            f'{name} trains for max_{unit}, which its log does not count. Set --cfg-options '
            f'default_hooks.logger.log_metric_by_epoch={by_epoch}'
        )
    return cfg.train_cfg[f'max_{unit}']


def result_of(folder: Path, metric: str, last: int) -> float | None:
    """The metric at the last step; None while a training is not finished."""
    try:
        _, val = read_scalars(folder)
    except FileNotFoundError:
        return None
    return next((record[metric] for record in reversed(val) if record['step'] >= last and metric in record), None)


def options_of(variant: str) -> list[str]:
    if variant == 'default':
        return []
    options = variant.split(',')
    if not all(re.fullmatch(r'\w+=.+', option) for option in options):
        raise UsageError(f'{variant!r} is no variant: give default, or argument=value,argument=value of the backbone.')
    return [f'model.backbone.{option}' for option in options]


def read_options(options: list[str]) -> dict:
    parser = ArgumentParser()
    parser.add_argument('options', nargs='*', action=ConfigOptions)
    return parser.parse_args(options).options or {}


def train(args: argparse.Namespace, variant: str, seed: int) -> None:
    folder = run_dir(args.work_dir, variant, seed)
    command = [
        sys.executable,
        str(REPO / 'tools/train.py'),
        args.config,
        '--work-dir',
        str(folder),
        '--resume',
        '--cfg-options',
        f'randomness.seed={seed}',
        *options_of(variant),
        *args.cfg_options,
    ]
    status = subprocess.run(command).returncode
    if status:
        raise UsageError(
            f'The training of {variant} with seed {seed} failed with exit status {status}; see above. '
            'The same command goes on from here.'
        )
    for checkpoint in folder.glob('*.pth'):
        checkpoint.unlink()  # only needed to resume


def tabulate(args: argparse.Namespace, last: int) -> str:
    """Write the results as JSON, and return them as a table."""
    results = {
        variant: {seed: result_of(run_dir(args.work_dir, variant, seed), args.metric, last) for seed in args.seeds}
        for variant in args.variants
    }
    Path(args.work_dir).mkdir(parents=True, exist_ok=True)
    (Path(args.work_dir) / 'results.json').write_text(json.dumps(dict(metric=args.metric, results=results), indent=1))
    lines = [f'| variant | {METRICS[args.metric]}, mean | standard deviation | each seed |', '|---|---|---|---|']
    for variant, of_seeds in results.items():
        done = [value for value in of_seeds.values() if value is not None]
        mean = f'{statistics.mean(done):.3f}' if done else ''
        spread = f'{statistics.stdev(done):.3f}' if len(done) > 1 else ''
        each = ', '.join('not trained' if value is None else f'{value:.3f}' for value in of_seeds.values())
        lines.append(f'| `{variant}` | {mean} | {spread} | {each} |')
    return '\n'.join(lines)


def main() -> None:
    args = parse_args()
    use_safe_loading()
    with exit_on_user_error():
        if args.limit < 0:
            raise UsageError('--limit must be 0 or more.')
        # Read as training will, so that mistakes show before the first one.
        for variant in args.variants:
            options_of(variant)
        last = last_step(load_config(args.config, read_options(args.cfg_options)), args.config)
        # Seed by seed, so that a table of fewer seeds is there early.
        todo = [
            (variant, seed)
            for seed in args.seeds
            for variant in args.variants
            if result_of(run_dir(args.work_dir, variant, seed), args.metric, last) is None
        ]
        for i, (variant, seed) in enumerate(todo[: args.limit], 1):
            print(f'\nTraining {i} of {len(todo)}: {variant}, seed {seed}', flush=True)
            train(args, variant, seed)
        print(tabulate(args, last))


if __name__ == '__main__':
    main()
