"""Make mmcv's operators work without its compiled extension: by a file in the installed mmcv."""

from __future__ import annotations

import argparse
import sys

from .files import install, remove, status


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog='mmrest mmcv-ops', description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    for function in (install, remove, status):
        what.add_argument(
            f'--{function.__name__}',
            dest='function',
            action='store_const',
            const=function,
            help=function.__doc__.split('\n')[0],
        )
    args = parser.parse_args(argv)
    try:
        print(args.function())
    except OSError as error:
        print(f'error: {error}', file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == '__main__':
    main()
