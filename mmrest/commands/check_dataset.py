"""Check every file of a dataset: report invalid, misread and skipped files, and a model that cannot be built.

Exit status: 0 without errors, 1 with errors in the data, 2 if the check cannot run, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import signal
from typing import Sequence

from ..checkpoints import use_safe_loading
from ..datasets.validation import Report
from ..datasets.validation.check import check_coco_files, check_config, check_label_maps, pair_label_maps
from ..engine import UsageError, check_data, check_target, exit_on_user_error, load_config
from ..engine.validation import find_missing_weights, find_model_errors
from ..utils.cli import ArgumentParser, add_cfg_options, add_config, add_num, add_out
from ..utils.fileio import write_json
from ..utils.progress import show_progress

PHASES = ('train', 'val', 'test')


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = ArgumentParser(description=__doc__)
    add_config(parser, optional=True)
    parser.add_argument('--phase', nargs='+', choices=PHASES, default=PHASES, help='phase whose dataset is used')
    add_cfg_options(parser)
    parser.add_argument(
        '--coco', nargs=2, metavar=('FILE', 'DIR'), help='in place of a config: annotations, and the folder of images'
    )
    parser.add_argument(
        '--label-maps',
        nargs=2,
        metavar=('DIR', 'DIR'),
        help='in place of a config: folders of images and of label maps with the same names',
    )
    add_num(parser, 'classes', None, 'classes; with --label-maps')
    parser.add_argument(
        '--ignore-index', type=int, default=255, metavar='N', help='value of pixels to ignore; with --label-maps'
    )
    parser.add_argument(
        '--reduce-zero-label',
        action='store_true',
        help='0 is not labelled and 1 is the first class, as in ADE20K; with --label-maps',
    )
    add_num(parser, 'examples', 5, 'files to name of each kind')
    add_out(parser, 'what was found, as JSON')
    return parser


def check_arguments(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """End with a usage error where arguments do not go together."""
    if sum(map(bool, (args.config, args.coco, args.label_maps))) != 1:
        parser.error('give one of: a config, --coco, --label-maps')
    if args.label_maps and not args.num_classes:
        parser.error('--label-maps needs --num-classes')
    if args.reduce_zero_label and not args.label_maps:
        parser.error('--reduce-zero-label goes with --label-maps; in a config, set reduce_zero_label of its datasets')


def check(args: argparse.Namespace, report: Report) -> None:
    """Enter into the report what is wrong with the data."""
    if args.coco:
        check_coco_files(*args.coco, report, progress=show_progress)
    elif args.label_maps:
        pairs = pair_label_maps(*args.label_maps, report)
        if not pairs:
            raise UsageError(f'There are no images in {args.label_maps[0]}.')
        check_label_maps(
            pairs, args.num_classes, report, args.ignore_index, args.reduce_zero_label, progress=show_progress
        )
    else:
        cfg = load_config(args.config, args.cfg_options)
        phases = tuple(phase for phase in args.phase if cfg.get(f'{phase}_dataloader'))
        if not phases:
            raise UsageError(f'{args.config} has no data loader for {", ".join(args.phase)}.')
        check_data(cfg, phases)
        for message in find_model_errors(cfg):
            report.error('model that cannot be built', message)
        for message in find_missing_weights(cfg) if 'train' in phases else ():
            report.error('weights that do not exist', message)
        check_config(cfg, phases, report, show_progress)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = build_parser()
    args = parser.parse_args(argv)
    check_arguments(parser, args)
    use_safe_loading()
    report = Report(examples=args.num_examples)
    with exit_on_user_error():
        check_target(args.out, '--out', folder=False)
        try:
            check(args, report)
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one would cut short the end of the processes
            print(f'{report}\nInterrupted: the rest has not been looked at.')
            raise SystemExit(130) from None
        print(report)
        if args.out:
            write_json(args.out, report.as_dict(), indent=2)
    raise SystemExit(1 if report.errors else 0)


if __name__ == '__main__':
    main()
