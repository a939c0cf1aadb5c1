"""Draw what the data pipeline of a config feeds, after augmentation: boxes, masks, label maps and class names."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmrest.checkpoints import use_safe_loading
from mmrest.engine import check_target, exit_on_user_error, load_config
from mmrest.utils.cli import ArgumentParser, ConfigOptions
from mmrest.visualization import browse_dataset
from mmrest.visualization.browse import PHASES


def parse_args() -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file of mmdet, mmseg or mmpretrain')
    parser.add_argument('--phase', choices=PHASES, default='train', help='whose dataset; default: train')
    parser.add_argument('--number', type=int, default=16, help='how many samples, evenly spread; default: 16')
    parser.add_argument(
        '--out-dir',
        help='folder for contact_sheet.png and the pictures; default: work_dirs/browse/<config name>_<phase>',
    )
    parser.add_argument('--show', action='store_true', help='show each in a window until the space bar is pressed')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=ConfigOptions,
        metavar='KEY=VALUE',
        help='override settings of the config, e.g. data_root=/data/coco/',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    use_safe_loading()
    with exit_on_user_error():
        out_dir = args.out_dir or f'work_dirs/browse/{Path(args.config).stem}_{args.phase}'
        check_target(out_dir, '--out-dir')
        cfg = load_config(args.config, args.cfg_options)
        painted = browse_dataset(cfg, args.phase, args.number, out_dir, args.show)
        for reason in painted.skipped:
            print(f'Skipped: {reason}')
        sheet, *pictures = painted.files
        print(f'Contact sheet: {sheet}\n{len(pictures)} pictures: {sheet.parent}')


if __name__ == '__main__':
    main()
