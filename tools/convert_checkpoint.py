"""Convert a published checkpoint of ResT or ResTv2: a classifier, or a whole detector or segmentor."""

from mmrest.converters import TARGETS, convert_file
from mmrest.engine import exit_on_user_error
from mmrest.utils.cli import ArgumentParser


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument('source', help="the authors' file, as it was downloaded")
    parser.add_argument('destination', help='file to write')
    parser.add_argument(
        '--to',
        choices=['auto', *sorted(set(TARGETS.values()))],
        default='auto',
        help='what to make of it; auto (default): all of what is in it',
    )
    parser.add_argument('--overwrite', action='store_true', help='replace the destination if it exists')
    args = parser.parse_args()
    with exit_on_user_error():
        conversion = convert_file(args.source, args.destination, args.to, args.overwrite)
        print(f'{conversion}\nwritten to {args.destination}')


if __name__ == '__main__':
    main()
