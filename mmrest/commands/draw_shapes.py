"""Draw the shapes dataset into a folder: COCO instance annotations and ADE20K-style label maps."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Sequence

from ..datasets import CLASSES, draw_shapes
from ..engine import UsageError, check_target, exit_on_user_error
from ..utils.cli import ArgumentParser, add_num, add_overwrite, add_shape, integer


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument('root', help='folder; left alone where it holds the same dataset already')
    add_num(parser, 'train', 1200, 'training images', minimum=2)
    add_num(parser, 'val', 200, 'validation images', minimum=2)
    add_shape(parser, (128, 128))
    parser.add_argument('--seed', type=integer(0), default=0, metavar='N', help='seed of the dataset')
    add_overwrite(parser)
    return parser


def print_progress(done: int, total: int) -> None:
    """Print a line after every hundredth image, and after the last one."""
    if done % 100 == 0 or done == total:
        print(f'{done} of {total} images', flush=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    args = build_parser().parse_args(argv)
    with exit_on_user_error():
        if not Path(args.root).is_dir():  # one that holds the dataset already need not be writable
            check_target(args.root, 'root')
        try:
            root = draw_shapes(
                args.root, args.num_train, args.num_val, args.shape, args.seed, args.overwrite, print_progress
            )
        except (ValueError, OSError) as error:
            if getattr(error, 'errno', None) is not None:  # of the system
                raise
            raise UsageError(str(error)) from error
    print(f'The shapes dataset is in {root.resolve()}')
    for split in ('train', 'val'):
        content = json.loads((root / 'annotations' / f'instances_{split}.json').read_text(encoding='utf-8'))
        images, annotations = content['images'], content['annotations']
        counts = Counter(annotation['category_id'] for annotation in annotations)
        per_class = ', '.join(f'{counts[i]} {name}' for i, name in enumerate(CLASSES, 1))
        print(f'{split}: {len(images)} images, {len(annotations)} instances ({per_class})')


if __name__ == '__main__':
    main()
