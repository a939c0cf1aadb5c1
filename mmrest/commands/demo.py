"""Paint what a model finds on an image, a folder or a video: boxes, masks, label maps or classes."""

from __future__ import annotations

import argparse
from typing import Sequence

from ..apis import find_images, init_model
from ..checkpoints import use_safe_loading
from ..engine import check_target, exit_on_user_error
from ..utils.cli import (
    ArgumentParser,
    add_cfg_options,
    add_checkpoint,
    add_config,
    add_device,
    add_out_dir,
    add_score_thr,
)
from ..visualization import paint_predictions


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = ArgumentParser(description=__doc__)
    # In the order of OpenMMLab's own demos, whose first argument is the image.
    parser.add_argument('inputs', help='image, folder of images, or video')
    add_config(parser)
    add_checkpoint(parser, or_initial=True)
    add_out_dir(parser, 'painted images, or the video', default='outputs')
    add_score_thr(parser)
    add_device(parser)
    add_cfg_options(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    args = build_parser().parse_args(argv)
    use_safe_loading()
    with exit_on_user_error():
        check_target(args.out_dir, '--out-dir')
        find_images(args.inputs, 1, ('',))  # a wrong path is named before the model is built
        loaded = init_model(args.config, args.checkpoint, args.cfg_options, args.device, testing=True)
        painted = paint_predictions(loaded, args.inputs, args.out_dir, args.score_thr)
        for reason in painted.skipped:
            print(f'Skipped: {reason}')
        if painted.frames:
            print(f'{painted.frames} frames painted: {painted.files[0]}')
        else:
            total = len(painted.files) + len(painted.skipped)
            print(f'{len(painted.files)} of {total} images painted: {args.out_dir}')
        note = painted.describe_scores(args.score_thr)
        if note:
            print(note)


if __name__ == '__main__':
    main()
