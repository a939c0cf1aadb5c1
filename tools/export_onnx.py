"""Export a backbone, a RetinaNet up to its decoded boxes or a UPerNet up to its logits to ONNX, at any size and batch.

Before the file appears, onnxruntime compares it with the model at two sizes (with --static-shape, at that one) and two
batches (--no-verify: not).
Normalisation stays outside, as does the suppression of overlapping boxes: see docs/export.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mmrest.apis import BACKBONES
from mmrest.checkpoints import use_safe_loading
from mmrest.engine import exit_on_user_error
from mmrest.export import backbone_target, config_target, export
from mmrest.export.targets import PARTS, SEGMENTATION_OUTPUTS
from mmrest.utils.cli import ArgumentParser, ConfigOptions, check_choice


def parse_args() -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', nargs='?', help='config file of a RetinaNet, UPerNet or any model with a backbone')
    parser.add_argument('--backbone', choices=list(BACKBONES), help='instead of a config, a backbone')
    parser.add_argument('--arch', help='its architecture, e.g. small')
    parser.add_argument(
        '--options',
        nargs='+',
        action=ConfigOptions,
        metavar='KEY=VALUE',
        help='further arguments of the backbone, e.g. style=win, or stem=resnet of ResTAblation',
    )
    parser.add_argument('--checkpoint', help='weights, published or own; default: initial ones')
    parser.add_argument(
        '--out', help='file to write, .onnx, or .pt2 for torch.export; default: work_dirs/export/<name>.onnx'
    )
    parser.add_argument('--part', choices=PARTS, help="of a config's model; default, auto: whole")
    parser.add_argument('--outputs', nargs='+', choices=SEGMENTATION_OUTPUTS, help='of a segmentor; default: both')
    parser.add_argument(
        '--static-shape',
        nargs=2,
        type=int,
        metavar=('HEIGHT', 'WIDTH'),
        help='fix the size of images; default: it is dynamic',
    )
    parser.add_argument('--opset', type=int, help="version of ONNX's operators; default: what torch recommends")
    parser.add_argument('--no-verify', action='store_true', help='write the file without comparing it with the model')
    parser.add_argument(
        '--cfg-options', nargs='+', action=ConfigOptions, metavar='KEY=VALUE', help='override settings of the config'
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    use_safe_loading()
    with exit_on_user_error():
        check_choice(args, ('part', 'outputs', 'cfg_options'))
        if args.backbone:
            target = backbone_target(args.backbone, args.arch, args.checkpoint, args.options or {})
            name = '_'.join(filter(None, (args.backbone.lower(), args.arch)))
        else:
            target = config_target(
                args.config,
                args.checkpoint,
                args.cfg_options,
                args.part or 'auto',
                args.outputs or SEGMENTATION_OUTPUTS,
            )
            name = Path(args.config).stem + '_backbone' * (args.part == 'backbone')
        out = Path(args.out or f'work_dirs/export/{name}.onnx')
        differences = export(target, out, args.static_shape, args.opset, not args.no_verify)
        print(f'{out}: {target.name}, {out.stat().st_size / 2**20:.1f} MiB')
        for output, meaning in target.outputs.items():
            print(f'  {output}: {meaning}')
        if not args.checkpoint:
            print('The weights are initial ones: no --checkpoint was given.')
        if differences:
            print(
                "Largest differences from the model in float64, relative to an output's largest value; in brackets "
                "the model's own in float32:"
            )
            for output, found in differences.items():
                print(f'  {output}: {found.file:.1e} ({found.model:.1e})')
        else:
            print('Not compared with the model (--no-verify).')


if __name__ == '__main__':
    main()
