"""Draw figures of the papers for any model and images: writes a picture and its numbers."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Sequence

from ..analysis import METRICS, reports
from ..analysis.cam import METHODS, import_grad_cam
from ..apis import find_images
from ..checkpoints import use_safe_loading
from ..engine import check_target, exit_on_user_error
from ..utils.cli import (
    ArgumentParser,
    add_cfg_options,
    add_checkpoint,
    add_config,
    add_device,
    add_num,
    add_out_dir,
    add_score_thr,
    add_shape,
    integer,
)

# The number of images that each takes by default, and its help.
OF_MODELS = {
    'diversity': (16, 'similarity of the heads of each attention before mixing, after it, and after InstanceNorm'),
    'cam': (6, 'class-activation maps of detectors, segmentors and classifiers; needs the package grad-cam'),
    'fourier': (16, 'relative log amplitudes of Fourier-transformed feature maps by depth'),
    'erf': (16, 'effective receptive field of each output of the backbone'),
}
CURVES = 'loss, learning rate and AP, mIoU or accuracy of several runs in one figure'


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest='command', required=True, metavar='figure')
    figures = {}
    for name, (num_images, text) in OF_MODELS.items():
        figures[name] = figure = commands.add_parser(name, help=text, description=f'Draw: {text}.')
        figure.add_argument('images', help='image or folder of images')
        add_config(figure)
        add_checkpoint(figure, or_initial=True)
        figure.add_argument(
            '--versus',
            nargs=2,
            action='append',
            default=[],
            metavar=('CONFIG', 'CHECKPOINT'),
            help='another model to draw beside it; can be repeated',
        )
        add_num(figure, 'images', num_images, 'images to use, the first ones by name')
        add_device(figure)
        add_cfg_options(figure)
    figures['cam'].add_argument('--method', choices=list(METHODS), default='layercam', help='kind of activation map')
    figures['cam'].add_argument(
        '--stages',
        nargs='+',
        type=int,
        metavar='N',
        help='indices of the outputs of the backbone, of which the mean is drawn; default: all',
    )
    figures['cam'].add_argument(
        '--class', dest='class_name', metavar='NAME', help='class to explain; default: that of the highest score'
    )
    add_score_thr(figures['cam'])
    add_shape(figures['erf'], (224, 224))
    figures['curves'] = commands.add_parser('curves', help=CURVES, description=f'Draw: {CURVES}.')
    figures['curves'].add_argument('work_dirs', nargs='+', help='folders of runs')
    figures['curves'].add_argument(
        '--metric',
        choices=list(METRICS),
        help='metric of validation to show; default: the first of these that was logged',
    )
    figures['curves'].add_argument(
        '--smooth', type=integer(1), default=1, metavar='N', help='logged values that each point of the loss averages'
    )
    for name, figure in figures.items():
        add_out_dir(figure, f'{name}.png and {name}.json', default='work_dirs/analysis')
    return parser


def draw(args: argparse.Namespace) -> tuple[Path, Path]:
    """Draw the figure; return the picture and the file of numbers."""
    if args.command == 'curves':
        return reports.write_curves(args.work_dirs, args.out_dir, args.metric, args.smooth)
    if args.command == 'cam':
        import_grad_cam()  # what is missing shows before models are loaded
    images = find_images(args.images, args.num_images)  # first, because it is quick to fail
    models = reports.load_models([(args.config, args.checkpoint), *args.versus], args.cfg_options, args.device)
    if args.command == 'diversity':
        return reports.write_diversity(models, images, args.out_dir)
    if args.command == 'fourier':
        return reports.write_fourier(models, images, args.out_dir)
    if args.command == 'erf':
        return reports.write_receptive_fields(models, images, args.out_dir, tuple(args.shape))
    return reports.write_cam(models, images, args.out_dir, args.method, args.stages, args.class_name, args.score_thr)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    args = build_parser().parse_args(argv)
    use_safe_loading()
    with exit_on_user_error():
        check_target(args.out_dir, '--out-dir')
        for suffix in ('png', 'json'):
            check_target(Path(args.out_dir) / f'{args.command}.{suffix}', '--out-dir', folder=False)
        picture, numbers = draw(args)
        print(f'Picture: {picture}\nNumbers: {numbers}')


if __name__ == '__main__':
    main()
