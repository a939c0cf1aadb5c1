"""Paint what a model finds on an image, every image of a folder, or a video: boxes, masks, label maps or classes."""

from __future__ import annotations

import argparse

import torch

from mmrest.apis import init_model
from mmrest.checkpoints import use_safe_loading
from mmrest.engine import check_target, exit_on_user_error
from mmrest.utils.cli import ArgumentParser, ConfigOptions
from mmrest.visualization import paint_predictions


def parse_args() -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument('inputs', help='image, folder of images, or video')
    parser.add_argument('--config', required=True, help='config file of any model of mmdet, mmseg or mmpretrain')
    parser.add_argument('--checkpoint', '--weights', required=True, help="its weights; none for a model's initial ones")
    parser.add_argument('--out-dir', default='outputs', help='folder for painted images or the video; default: outputs')
    parser.add_argument(
        '--device', default='cuda' if torch.cuda.is_available() else 'cpu', help='default: a GPU if there is one'
    )
    parser.add_argument(
        '--score-thr',
        '--pred-score-thr',
        type=float,
        default=0.3,
        help='leave instances below this score out; default: 0.3',
    )
    parser.add_argument(
        '--cfg-options', nargs='+', action=ConfigOptions, metavar='KEY=VALUE', help='override settings of the config'
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    use_safe_loading()
    with exit_on_user_error():
        check_target(args.out_dir, '--out-dir')
        loaded = init_model(args.config, args.checkpoint, args.cfg_options, args.device, testing=True)
        painted = paint_predictions(loaded, args.inputs, args.out_dir, args.score_thr)
        for reason in painted.skipped:
            print(f'Skipped: {reason}')
        if painted.frames:
            print(f'{painted.frames} frames painted: {painted.files[0]}')
        else:
            total = len(painted.files) + len(painted.skipped)
            print(f'{len(painted.files)} of {total} images painted: {args.out_dir}')


if __name__ == '__main__':
    main()
