"""Print the paths of configs and tools: python -m mmrest configs NAME, --list or --tools."""

from __future__ import annotations

import argparse

from .utils import resources

COMMANDS = {'configs': resources.main}


def main(argv: list[str] | None = None) -> None:
    """Run the command that the first argument names with the other arguments."""
    parser = argparse.ArgumentParser(prog='python -m mmrest', description=__doc__)
    parser.add_argument('command', choices=list(COMMANDS))
    parser.add_argument(
        'arguments',
        nargs=argparse.REMAINDER,
        help='of configs: a NAME, whose path is printed; --list, for the names of all configs; or --tools, for the '
        'folder of the tools',
    )
    args = parser.parse_args(argv)
    COMMANDS[args.command](args.arguments)


if __name__ == '__main__':
    main()
