"""Draw the shapes data set into a folder: COCO instance annotations and ADE20K-style label maps."""
import argparse
import json
from collections import Counter

from mmrest.datasets import CLASSES, draw_shapes


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('root', help='folder; left alone where it holds the same data set already')
    parser.add_argument('--num-train', type=int, default=1200, help='number of training images')
    parser.add_argument('--num-val', type=int, default=200, help='number of validation images')
    parser.add_argument('--size', type=int, nargs=2, default=(128, 128), metavar=('HEIGHT', 'WIDTH'),
                        help='size of the images in px')
    parser.add_argument('--seed', type=int, default=0, help='seed of the data set')
    parser.add_argument('--overwrite', action='store_true',
                        help='draw in any case, replacing a shapes data set in the folder')
    return parser.parse_args()


def print_progress(done: int, total: int) -> None:
    if done % 100 == 0 or done == total:
        print(f'{done} of {total} images', flush=True)


def main() -> None:
    args = parse_args()
    try:
        root = draw_shapes(args.root, args.num_train, args.num_val, args.size, args.seed, args.overwrite,
                           print_progress)
    except (ValueError, FileExistsError) as error:
        raise SystemExit(f'error: {error}') from error
    print(f'The shapes data set is in {root.resolve()}')
    for split in ('train', 'val'):
        content = json.loads((root / 'annotations' / f'instances_{split}.json').read_text(encoding='utf-8'))
        images, annotations = content['images'], content['annotations']
        counts = Counter(annotation['category_id'] for annotation in annotations)
        per_class = ', '.join(f'{counts[i]} {name}' for i, name in enumerate(CLASSES, 1))
        print(f'{split}: {len(images)} images, {len(annotations)} instances ({per_class})')


if __name__ == '__main__':
    main()
