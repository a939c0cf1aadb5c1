"""Figures of the papers, for any config, checkpoint and folder of images: a picture and its numbers in a folder."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from mmrest.analysis import METRICS, compare_curves, plot_comparison
from mmrest.analysis.cam import METHODS, load_methods, measure_cam, plot_cam
from mmrest.analysis.diversity import measure_diversity, plot_diversity
from mmrest.analysis.fourier import NUM_FREQUENCIES, measure_fourier, plot_fourier
from mmrest.analysis.receptive_field import SHARES, area_holding, measure_receptive_field, plot_receptive_fields
from mmrest.apis import LoadedModel, find_images, init_model
from mmrest.checkpoints import use_safe_loading
from mmrest.engine import UsageError, check_target, exit_on_user_error
from mmrest.utils.cli import ArgumentParser, ConfigOptions
from mmrest.utils.fileio import write_json


def parse_args() -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest='command', required=True)

    def add(name: str, run, text: str, num_images: int | None = None) -> argparse.ArgumentParser:
        command = commands.add_parser(
            name, help=text, description=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter
        )
        command.set_defaults(run=run)
        command.add_argument('--out', default='work_dirs/analysis', help=f'folder for {name}.png and {name}.json')
        if num_images:
            command.add_argument('config', help='config file')
            command.add_argument('checkpoint', help="its weights; none for a model's initial weights")
            command.add_argument('images', help='folder of images, or one image')
            command.add_argument(
                '--versus',
                nargs=2,
                action='append',
                default=[],
                metavar=('CONFIG', 'CHECKPOINT'),
                help='another model beside it; can be repeated',
            )
            command.add_argument('--num-images', type=int, default=num_images, help='use the first that many')
            command.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
            command.add_argument(
                '--cfg-options',
                nargs='+',
                action=ConfigOptions,
                metavar='KEY=VALUE',
                help='override settings of the configs',
            )
        return command

    add(
        'diversity',
        run_diversity,
        'similarity of the heads of each attention, before mixing, after it, and after InstanceNorm (Figure 5 of ResT)',
        num_images=16,
    )
    cam = add(
        'cam',
        run_cam,
        'class-activation maps of detectors, segmentors and classifiers (Figure 6 of ResT); needs the package grad-cam',
        num_images=6,
    )
    cam.add_argument('--method', choices=list(METHODS), default='layercam')
    cam.add_argument(
        '--stages',
        nargs='+',
        type=int,
        metavar='INDEX',
        help='maps that the backbone emits to look at; the mean of several is drawn; default: all',
    )
    cam.add_argument('--class', dest='class_name', help='class by name; else what the first model is surest of')
    cam.add_argument('--score-thr', type=float, default=0.3, help='leave detections below this score out')
    add(
        'fourier',
        run_fourier,
        'relative log amplitudes of Fourier-transformed feature maps by depth (ResTv2)',
        num_images=16,
    )
    erf = add('erf', run_erf, 'effective receptive field of each output of the backbone', num_images=16)
    erf.add_argument(
        '--shape',
        nargs=2,
        type=int,
        default=[224, 224],
        metavar=('HEIGHT', 'WIDTH'),
        help='size in px that prepared images are resized to',
    )
    curves = add('curves', run_curves, 'loss, learning rate and AP, mIoU or accuracy of runs over each other')
    curves.add_argument('work_dirs', nargs='+', help='folders of runs')
    curves.add_argument('--metric', choices=list(METRICS), help='default: the first of these that was logged')
    curves.add_argument('--smooth', type=int, default=1, help='mean of the loss over that many logged values')
    return parser.parse_args()


def load(args: argparse.Namespace) -> tuple[dict[str, LoadedModel], list[Path]]:
    """The models by name, and the images."""
    if args.num_images < 1:
        raise UsageError('--num-images must be 1 or more.')
    images = find_images(args.images, args.num_images)  # first, because it is quick to fail
    given = [(args.config, args.checkpoint), *map(tuple, args.versus)]
    for one in given:
        if given.count(one) > 1:
            raise UsageError(f'{one[0]} with {one[1]} is given twice.')
    models: dict[str, LoadedModel] = {}
    for config, checkpoint in given:
        loaded = init_model(config, checkpoint, args.cfg_options, args.device)
        if loaded.name in models:  # files of the same name, or several checkpoints of a config
            loaded.name += f' ({config}, {checkpoint})'
        models[loaded.name] = loaded
    return models, images


def run_diversity(args: argparse.Namespace) -> tuple[Path, Path]:
    models, images = load(args)
    measured = {name: measure_diversity(loaded, images) for name, loaded in models.items()}
    return (
        plot_diversity(measured, Path(args.out) / 'diversity.png', len(images)),
        write_json(Path(args.out) / 'diversity.json', dict(num_images=len(images), models=measured), digits=6),
    )


def run_cam(args: argparse.Namespace) -> tuple[Path, Path]:
    load_methods()  # what is missing shows before models are loaded
    models, images = load(args)
    records = measure_cam(list(models.values()), images, args.method, args.stages, args.class_name, args.score_thr)
    numbers = [
        {
            'image': str(record['path']),
            'class': record['class_name'],
            'models': {
                name: dict(
                    score=found.score,
                    share_inside=found.inside,
                    area_inside=float('nan') if found.region is None else float(found.region.mean()),
                )
                for name, found in zip(models, record['activations'])
            },
        }
        for record in records
    ]
    return (
        plot_cam(records, list(models), Path(args.out) / 'cam.png', args.method),
        write_json(Path(args.out) / 'cam.json', dict(method=args.method, stages=args.stages, images=numbers), digits=6),
    )


def run_fourier(args: argparse.Namespace) -> tuple[Path, Path]:
    models, images = load(args)
    measured = {name: measure_fourier(loaded, images) for name, loaded in models.items()}
    frequencies = torch.linspace(0, 1, NUM_FREQUENCIES)
    return (
        plot_fourier(measured, Path(args.out) / 'fourier.png', len(images)),
        write_json(
            Path(args.out) / 'fourier.json',
            dict(num_images=len(images), frequencies_in_pi=frequencies, relative_log_amplitude=measured),
            digits=6,
        ),
    )


def run_erf(args: argparse.Namespace) -> tuple[Path, Path]:
    if min(args.shape) < 1:
        raise UsageError('--shape takes two positive numbers.')
    models, images = load(args)
    measured = {name: measure_receptive_field(loaded, images, tuple(args.shape)) for name, loaded in models.items()}
    areas = {
        name: {
            f'output {i + 1}': {f'area of {share:.0%}': area_holding(field, share) for share in SHARES}
            for i, field in fields.items()
        }
        for name, fields in measured.items()
    }
    return (
        plot_receptive_fields(measured, Path(args.out) / 'erf.png', len(images)),
        write_json(Path(args.out) / 'erf.json', dict(num_images=len(images), shape=args.shape, models=areas), digits=6),
    )


def run_curves(args: argparse.Namespace) -> tuple[Path, Path]:
    try:
        compared = compare_curves(args.work_dirs, args.metric)
    except (FileNotFoundError, ValueError) as error:
        raise UsageError(str(error)) from error
    return (
        plot_comparison(compared, Path(args.out) / 'curves.png', max(args.smooth, 1)),
        write_json(Path(args.out) / 'curves.json', compared, digits=6),
    )


def main() -> None:
    args = parse_args()
    use_safe_loading()
    with exit_on_user_error():
        check_target(args.out, '--out')
        for suffix in ('png', 'json'):
            check_target(Path(args.out) / f'{args.command}.{suffix}', '--out', folder=False)
        picture, numbers = args.run(args)
        print(f'Picture: {picture}\nNumbers: {numbers}')


if __name__ == '__main__':
    main()
