"""Test a checkpoint: compute the config's metrics, and on request save or paint predictions."""

from __future__ import annotations

import argparse
from typing import Sequence

from ..engine import build_runner, exit_on_user_error, load_config, make_parser, parse, prepare_test
from ..utils.cli import add_checkpoint, add_out
from ..visualization.files import check_paintable


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = make_parser(__doc__)
    add_checkpoint(parser)
    add_out(parser, 'predictions, as .pkl; a folder in segmentation')
    parser.add_argument('--show', action='store_true', help='show pictures in a window')
    parser.add_argument('--show-dir', metavar='DIR', help='folder to write to: painted images')
    parser.add_argument(
        '--wait-time', type=float, default=2, metavar='SECONDS', help='time for which --show shows an image'
    )
    parser.add_argument('--tta', action='store_true', help='test-time augmentation')
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    args = parse(build_parser(), argv)
    with exit_on_user_error():
        cfg = load_config(args.config, args.cfg_options, args.work_dir, args.launcher)
        prepare_test(cfg, args.checkpoint, args.out, args.show, args.show_dir, args.wait_time, args.tta)
        runner = build_runner(cfg)
        if args.show_dir:
            check_paintable(runner.test_loop.dataloader.dataset, '--show-dir')
        runner.test()


if __name__ == '__main__':
    main()
