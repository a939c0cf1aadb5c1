"""Fetch the wheels that gpu_check.py installs on a machine without a network: Python 3.12, Linux, x86-64."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from gpu_checks import wheels


def main() -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--folder', type=Path, default=wheels.FOLDER, help='where to (default: %(default)s)')
    args = parser.parse_args()
    try:
        paths = wheels.fetch(args.folder)
    except wheels.WheelError as error:
        print(error, file=sys.stderr)
        return 1
    own, repository = sum(path.stat().st_size for path in paths) / 1e6, wheels.repository_megabytes()
    print(f'{len(paths)} wheels, {own:.1f} MB, in {args.folder}; the repository has {repository:.1f} MB.')
    if own + repository > wheels.LIMIT_MB:
        print(f'Together that is more than {wheels.LIMIT_MB} MB.', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
