"""Print the path of a config that came with mmrest: ``python -m mmrest.config_path NAME``."""

from __future__ import annotations

import argparse
import sys

from .installed import get_config_path, list_configs, resources


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog='python -m mmrest.config_path', description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument('name', nargs='?', help='e.g. retinanet_rest_small_fpn_1x_coco')
    what.add_argument('--list', action='store_true', help='print the names of all configs')
    what.add_argument('--tools', action='store_true', help='print the folder of train.py, test.py and the other tools')
    args = parser.parse_args(argv)
    try:
        if args.list:
            print('\n'.join(list_configs()))
        else:
            print(resources() / 'tools' if args.tools else get_config_path(args.name))
    except FileNotFoundError as error:
        print(f'error: {error}', file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == '__main__':
    main()
