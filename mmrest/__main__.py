"""Commands of the package: ``python -m mmrest configs NAME``."""

from __future__ import annotations

import argparse

from .utils import resources

COMMANDS = {'configs': resources.main}


def main(argv: list[str] | None = None) -> None:
    """Run the command that the first argument names with the other arguments."""
    parser = argparse.ArgumentParser(prog='python -m mmrest', description=__doc__)
    parser.add_argument('command', choices=list(COMMANDS))
    parser.add_argument('arguments', nargs=argparse.REMAINDER)
    args = parser.parse_args(argv)
    COMMANDS[args.command](args.arguments)


if __name__ == '__main__':
    main()
