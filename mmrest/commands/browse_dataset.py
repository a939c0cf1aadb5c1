"""Draw what the data pipeline of a config feeds: boxes, masks, label maps and class names, after augmentation."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Sequence

from ..checkpoints import use_safe_loading
from ..engine import check_target, exit_on_user_error, load_config
from ..utils.cli import ArgumentParser, add_cfg_options, add_config, add_num, add_out_dir
from ..visualization import browse_dataset
from ..visualization.browse import PHASES


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = ArgumentParser(description=__doc__)
    add_config(parser)
    parser.add_argument('--phase', choices=PHASES, default='train', help='phase whose dataset is used')
    add_num(parser, 'samples', 16, 'samples to draw, evenly spread over the dataset')
    add_out_dir(parser, 'contact_sheet.png and the pictures; default: work_dirs/browse/<name of the config>_<phase>')
    parser.add_argument(
        '--show', action='store_true', help='show pictures in a window; the space bar goes on to the next'
    )
    add_cfg_options(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    args = build_parser().parse_args(argv)
    use_safe_loading()
    with exit_on_user_error():
        out_dir = args.out_dir or f'work_dirs/browse/{Path(args.config).stem}_{args.phase}'
        check_target(out_dir, '--out-dir')
        cfg = load_config(args.config, args.cfg_options)
        painted = browse_dataset(cfg, args.phase, args.num_samples, out_dir, args.show)
        for reason in painted.skipped:
            print(f'Skipped: {reason}')
        sheet, *pictures = painted.files
        print(f'Contact sheet: {sheet}\n{len(pictures)} pictures: {sheet.parent}')


if __name__ == '__main__':
    main()
