"""Train variants of a backbone with several seeds each: one training after the other, and a table of all.

Run it again after an interruption: finished trainings are kept, the others go on from their last checkpoint.
"""

from __future__ import annotations

import argparse
from typing import Sequence

from ..analysis import METRICS
from ..analysis.ablation_runs import run_ablation
from ..checkpoints import use_safe_loading
from ..engine import exit_on_user_error, load_config
from ..utils.cli import (
    ArgumentParser,
    add_cfg_options,
    add_config,
    add_num,
    add_work_dir,
    integer,
    read_options,
)
from ..utils.resources import get_config_path

CONFIG = 'ablations/retinanet_rest_lite_fpn_shapes-96'
VARIANTS = ('default', 'head_interaction=conv', 'head_interaction=none', 'position=none')


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = ArgumentParser(description=__doc__)
    add_config(parser, default=CONFIG)
    parser.add_argument(
        '--variants',
        nargs='+',
        default=VARIANTS,
        metavar='KEY=VALUE',
        help='variants to train: arguments of the backbone with commas between, or "default" for none',
    )
    parser.add_argument(
        '--seeds', nargs='+', type=integer(0), default=(0, 1, 2), metavar='N', help='seeds to train each variant with'
    )
    add_work_dir(parser, 'work_dirs/ablation')
    parser.add_argument('--metric', default='coco/bbox_mAP', choices=list(METRICS), help='metric of validation to show')
    add_num(parser, 'trainings', None, 'trainings after which to stop; default: all', minimum=0)
    add_cfg_options(parser, as_text=True)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    args = build_parser().parse_args(argv)
    use_safe_loading()
    with exit_on_user_error():
        config = args.config or get_config_path(CONFIG)
        cfg = load_config(config, read_options(args.cfg_options))
        table = run_ablation(
            cfg,
            config,
            args.variants,
            args.seeds,
            args.work_dir,
            args.metric,
            args.num_trainings,
            args.cfg_options,
        )
        print(table)


if __name__ == '__main__':
    main()
