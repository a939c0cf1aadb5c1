"""Train a model of the OpenMMLab family from its config: a detector, segmentor, classifier or other."""

from __future__ import annotations

import argparse
from typing import Sequence

from ..engine import build_runner, exit_on_user_error, load_config, make_parser, parse, prepare_train
from ..utils.cli import add_amp
from ..visualization import PaintValidationHook


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = make_parser(__doc__)
    add_amp(parser)
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by batch size / auto_scale_lr.base_batch_size',
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='FILE',
        help='resume from a checkpoint; without a file, from the last one in the work dir',
    )
    parser.add_argument(
        '--tensorboard', action='store_true', help='write scalars and some painted validation images for TensorBoard'
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    args = parse(build_parser(), argv)
    with exit_on_user_error():
        cfg = load_config(args.config, args.cfg_options, args.work_dir, args.launcher)
        prepare_train(cfg, args.amp, args.auto_scale_lr, args.resume, args.tensorboard)
        runner = build_runner(cfg, train=True)
        if args.tensorboard:
            runner.register_hook(PaintValidationHook())  # not in the config, which others may run without this package
        runner.train()


if __name__ == '__main__':
    main()
