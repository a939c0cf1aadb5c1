"""Look at every file of a data set: what a run would stop at, learn wrong things from, or leave out."""

from __future__ import annotations

import argparse
import json
import signal

from mmrest.checkpoints import use_safe_loading
from mmrest.datasets.validation import Report
from mmrest.datasets.validation.check import check_coco_files, check_config, check_label_maps, pair_label_maps
from mmrest.engine import UsageError, check_data, check_target, exit_on_user_error, load_config
from mmrest.utils.cli import ArgumentParser, ConfigOptions
from mmrest.utils.fileio import atomic_write
from mmrest.utils.progress import show_progress


def parse_args() -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__, epilog='Exit status: 0 without errors, 1 with, 130 after Ctrl-C.')
    parser.add_argument('config', nargs='?', help='config whose datasets are checked')
    parser.add_argument(
        '--phase',
        nargs='+',
        choices=['train', 'val', 'test'],
        default=['train', 'val', 'test'],
        help='which of its datasets; default: all',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=ConfigOptions,
        metavar='KEY=VALUE',
        help='override settings of the config, e.g. data_root=/data/coco/',
    )
    parser.add_argument('--coco', nargs=2, metavar=('ANN_FILE', 'IMAGES'), help='instead: annotations and their images')
    parser.add_argument(
        '--label-maps',
        nargs=2,
        metavar=('IMAGES', 'MAPS'),
        help='instead: folders of images and of label maps with the same names',
    )
    parser.add_argument('--num-classes', type=int, help='with --label-maps')
    parser.add_argument('--ignore-index', type=int, default=255, help='with --label-maps; default: %(default)s')
    parser.add_argument(
        '--reduce-zero-label',
        action='store_true',
        help='with --label-maps: 0 is not labelled and 1 is the first class, as in ADE20K',
    )
    parser.add_argument('--examples', type=int, default=5, help='files to name of each kind; default: %(default)s')
    parser.add_argument('--out', help='JSON file for what was found')
    args = parser.parse_args()
    if sum(map(bool, (args.config, args.coco, args.label_maps))) != 1:
        parser.error('give one of: a config, --coco, --label-maps')
    if args.label_maps and not args.num_classes:
        parser.error('--label-maps needs --num-classes')
    if args.reduce_zero_label and not args.label_maps:
        parser.error('--reduce-zero-label goes with --label-maps; a config says it in its datasets')
    return args


def check(args: argparse.Namespace, report: Report) -> None:
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
        check_config(cfg, phases, report, show_progress)


def main() -> None:
    args = parse_args()
    use_safe_loading()
    report = Report(examples=args.examples)
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
            atomic_write(args.out, json.dumps(report.as_dict(), indent=2).encode())
    raise SystemExit(1 if report.errors else 0)


if __name__ == '__main__':
    main()
