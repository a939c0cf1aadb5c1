"""Export to ONNX for any size and batch: a backbone, a RetinaNet up to decoded boxes or a UPerNet up to logits.

Before the file appears, onnxruntime compares it with the model at two sizes (with --shape, at that one) and two
batches. Normalization stays outside, as does the suppression of overlapping boxes: see docs/export.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Sequence

from ..apis import BACKBONES
from ..checkpoints import use_safe_loading
from ..engine import exit_on_user_error
from ..export import backbone_target, config_target, export
from ..export.targets import PARTS, SEGMENTATION_OUTPUTS
from ..export.verify import format_differences
from ..utils.cli import (
    ArgumentParser,
    add_backbone,
    add_cfg_options,
    add_config,
    add_out,
    add_shape,
    check_config_or_backbone,
    integer,
)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = ArgumentParser(description=__doc__)
    add_config(parser, optional=True)
    add_backbone(parser, BACKBONES)
    parser.add_argument('--checkpoint', metavar='FILE', help='weights, published or own; default: initial weights')
    add_out(parser, '.onnx, or .pt2 for torch.export; default: work_dirs/export/<name>.onnx')
    parser.add_argument('--part', choices=PARTS, help='part of the model; with a config; default: auto, the whole')
    parser.add_argument(
        '--outputs', nargs='+', choices=SEGMENTATION_OUTPUTS, help='outputs of a segmentor; default: both'
    )
    add_shape(parser, None, '; default: dynamic')
    parser.add_argument(
        '--opset',
        type=integer(1),
        metavar='N',
        help="version of ONNX's operators; default: what torch recommends",
    )
    parser.add_argument('--no-verify', action='store_true', help='write the file without comparing it with the model')
    add_cfg_options(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    args = build_parser().parse_args(argv)
    use_safe_loading()
    with exit_on_user_error():
        check_config_or_backbone(args, ('part', 'outputs', 'cfg_options'))
        if args.backbone:
            target = backbone_target(args.backbone, args.arch, args.checkpoint, args.options or {})
            name = '_'.join(filter(None, (args.backbone.lower(), args.arch)))
        else:
            outputs = args.outputs or SEGMENTATION_OUTPUTS
            target = config_target(args.config, args.checkpoint, args.cfg_options, args.part or 'auto', outputs)
            name = Path(args.config).stem + '_backbone' * (args.part == 'backbone')
        out = Path(args.out or f'work_dirs/export/{name}.onnx')
        verified = '' if args.no_verify else ' and comparing it with the model'
        print(f'{target.name}: recording the graph{verified}; this takes a minute or two.', flush=True)
        differences = export(target, out, args.shape, args.opset, not args.no_verify)
        print(f'{out}: {target.name}, {out.stat().st_size / 2**20:.1f} MiB')
        for output, meaning in target.outputs.items():
            print(f'  {output}: {meaning}')
        if not args.checkpoint:
            print('The weights are initial ones: no --checkpoint was given.')
        print(format_differences(differences) if differences else 'Not compared with the model (--no-verify).')


if __name__ == '__main__':
    main()
