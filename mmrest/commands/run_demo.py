"""Do the whole job on data it draws itself: draw, train, test, and picture the results; a few minutes on a CPU.

Images go to data/shapes in the current folder. An interrupted demo goes on when it is run again.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Sequence

from ..analysis.demo import remove_demo, run_demo
from ..engine import exit_on_user_error
from ..utils.cli import ArgumentParser, add_cfg_options, add_work_dir


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = ArgumentParser(description=__doc__)
    add_work_dir(parser, 'work_dirs/demo')
    parser.add_argument('--fresh', action='store_true', help='start over: remove the work dir of an earlier demo first')
    add_cfg_options(parser, as_text=True)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    args = build_parser().parse_args(argv)
    work_dir = Path(args.work_dir).resolve()
    with exit_on_user_error():
        if args.fresh:
            remove_demo(work_dir)
        start = time.time()
        result = run_demo(args.work_dir, args.cfg_options)
        # mmdet computes nothing where nothing was found.
        found = 'the detector found no object' if result.box_ap is None else f'box AP {result.box_ap:.3f}'
        minutes = (time.time() - start) / 60
        print(f'\nDone in {minutes:.1f} minutes: {found} on {result.num_images} validation images.')
        pictures = (f'  {picture}' for picture in result.pictures)
        print('\n'.join(['Look at:', *pictures, f'Checkpoint and logs: {work_dir}']))


if __name__ == '__main__':
    main()
