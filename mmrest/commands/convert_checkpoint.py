"""Convert a published checkpoint of ResT or ResTv2: a classifier, or a whole detector or segmentor."""

from __future__ import annotations

import argparse
from typing import Sequence

from ..converters import TARGETS, convert_file
from ..engine import exit_on_user_error
from ..utils.cli import ArgumentParser, add_overwrite


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument('src', help="the authors' file as it was downloaded, or its URL")
    parser.add_argument('dst', help='file to write: .safetensors, or .pth')
    parser.add_argument(
        '--to',
        choices=['auto', *sorted(set(TARGETS.values()))],
        default='auto',
        help='kind of model to write; auto: everything in the file',
    )
    add_overwrite(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    args = build_parser().parse_args(argv)
    with exit_on_user_error():
        conversion = convert_file(args.src, args.dst, args.to, args.overwrite)
        print(f'{conversion}\nwritten to {args.dst}')


if __name__ == '__main__':
    main()
