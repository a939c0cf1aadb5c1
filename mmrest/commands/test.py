"""Test a checkpoint: compute the config's metrics, and on request save or paint predictions."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Sequence

from mmengine.dist import is_main_process

from ..analysis import chart_curves
from ..engine import build_runner, check_target, exit_on_user_error, load_config, make_parser, parse, prepare_test
from ..utils.cli import add_amp, add_checkpoint, add_out
from ..visualization import ReportHook, describe_test, write_report
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
    parser.add_argument(
        '--report',
        metavar='DIR',
        help='folder to write to: index.html, one page with metrics by class, confusions, the worst images and times',
    )
    parser.add_argument('--tta', action='store_true', help='test-time augmentation')
    add_amp(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    args = parse(build_parser(), argv)
    with exit_on_user_error():
        check_target(args.report, '--report')
        check_target(args.report and Path(args.report, 'index.html'), '--report', folder=False)
        cfg = load_config(args.config, args.cfg_options, args.work_dir, args.launcher)
        prepare_test(cfg, args.checkpoint, args.out, args.show, args.show_dir, args.wait_time, args.tta, args.amp)
        runner = build_runner(cfg)
        if args.show_dir:
            check_paintable(runner.test_loop.dataloader.dataset, '--show-dir')
        hook = ReportHook()
        if args.report:
            runner.register_hook(hook)  # not in the config, which others may run without this package
        runner.test()
        if args.report and is_main_process():
            facts, notes = describe_test(cfg, args.checkpoint, hook.record)
            charts = chart_curves(Path(args.checkpoint).parent)
            print(f'Report: {write_report(hook.record, args.report, Path(args.config).stem, facts, charts, notes)}')


if __name__ == '__main__':
    main()
