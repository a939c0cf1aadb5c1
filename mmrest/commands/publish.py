"""Write the weights of a training checkpoint to a file to share: with classes, metrics and the config.

Everything that only the run needs is left out, and so are paths and accounts in the config.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Sequence

from ..converters import publish
from ..engine import exit_on_user_error
from ..utils.cli import ArgumentParser, add_checkpoint, add_config, add_out, add_overwrite


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = ArgumentParser(description=__doc__)
    add_checkpoint(parser)
    add_config(parser, default='the one in the checkpoint')
    add_out(parser, '.safetensors or .pth; default: the checkpoint with the suffix .safetensors')
    parser.add_argument('--no-config', action='store_true', help='leave out the config')
    parser.add_argument(
        '--hash', action='store_true', help="append the first 8 digits of the file's sha256 to its name"
    )
    add_overwrite(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    args = build_parser().parse_args(argv)
    with exit_on_user_error():
        published = publish(args.checkpoint, args.out, args.config, not args.no_config, args.hash, args.overwrite)
        print(f'{published}\nwritten to {published.path} ({Path(published.path).stat().st_size / 2**20:.1f} MiB)')


if __name__ == '__main__':
    main()
