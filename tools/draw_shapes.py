"""Draw the shapes data set into a folder: COCO instance annotations and ADE20K-style label maps."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

from mmrest.datasets import CLASSES, draw_shapes
from mmrest.engine import UsageError, check_target, exit_on_user_error
from mmrest.utils.cli import ArgumentParser


def parse_args() -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('root', help='folder; left alone where it holds the same data set already')
    parser.add_argument('--num-train', type=int, default=1200, help='number of training images')
    parser.add_argument('--num-val', type=int, default=200, help='number of validation images')
    parser.add_argument(
        '--size', type=int, nargs=2, default=(128, 128), metavar=('HEIGHT', 'WIDTH'), help='size of the images in px'
    )
    parser.add_argument('--seed', type=int, default=0, help='seed of the data set')
    parser.add_argument(
        '--overwrite', action='store_true', help='draw in any case, replacing a shapes data set in the folder'
    )
    return parser.parse_args()


def print_progress(done: int, total: int) -> None:
    if done % 100 == 0 or done == total:
        print(f'{done} of {total} images', flush=True)


def draw(args: argparse.Namespace) -> Path:
    """Draw what the arguments say; the folder."""
    if not Path(args.root).is_dir():  # one that holds the data set already need not be writable
        check_target(args.root, 'root')
    try:
        return draw_shapes(
            args.root, args.num_train, args.num_val, args.size, args.seed, args.overwrite, print_progress
        )
    except (ValueError, OSError) as error:
        if getattr(error, 'errno', None) is not None:  # of the system
            raise
        raise UsageError(str(error)) from error


def main() -> None:
    args = parse_args()
    with exit_on_user_error():
        root = draw(args)
    print(f'The shapes data set is in {root.resolve()}')
    for split in ('train', 'val'):
        content = json.loads((root / 'annotations' / f'instances_{split}.json').read_text(encoding='utf-8'))
        images, annotations = content['images'], content['annotations']
        counts = Counter(annotation['category_id'] for annotation in annotations)
        per_class = ', '.join(f'{counts[i]} {name}' for i, name in enumerate(CLASSES, 1))
        print(f'{split}: {len(images)} images, {len(annotations)} instances ({per_class})')


if __name__ == '__main__':
    main()
