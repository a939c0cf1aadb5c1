"""Compare the time and memory of models: measured in turn, in one run; see docs/performance_details.md for examples."""

from __future__ import annotations

import argparse
from typing import Sequence

from ..benchmark.models import DTYPES, FLAGS, OPTIONS, OWN_BACKBONES, PARTS
from ..benchmark.peers import PEER_BACKBONES
from ..benchmark.run import run
from ..benchmark.settings import MODES, NUM_ROUNDS, SHAPES, SWEEP, Settings
from ..checkpoints import use_safe_loading
from ..engine import exit_on_user_error
from ..utils.cli import ArgumentParser, add_device, add_num, add_out, add_shape, integer


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument(
        'models',
        nargs='+',
        help='models to compare, the first with each of the others: '
        f'{", ".join([*OWN_BACKBONES, *PEER_BACKBONES])}, or a config file of mmdet; '
        f'our own with options after a colon: {", ".join(OPTIONS)}, as in rest-small:{",".join(FLAGS)}; '
        'blas and onednn compute matrix products on a CPU with that library',
    )
    parser.add_argument(
        '--part',
        choices=PARTS,
        default='backbone',
        help='part of the model; that of a config is measured whole',
    )
    parser.add_argument(
        '--mode',
        choices=MODES,
        nargs='+',
        default=MODES,
        help='passes to measure; train is forward and backward, without the optimizer',
    )
    add_shape(parser, None, '; can be repeated; default: ' + ', '.join(f'{h} {w}' for h, w in SHAPES), repeated=True)
    parser.add_argument('--batch-size', type=integer(1), default=1, metavar='N', help='images at a time')
    parser.add_argument(
        '--dtype',
        choices=list(DTYPES),
        default='float32',
        help='data type of weights and images; of detectors under autocast',
    )
    parser.add_argument(
        '--autocast', action='store_true', help='keep weights and images in float32, and compute in --dtype by autocast'
    )
    add_device(parser, 'cpu')
    parser.add_argument('--compile', action='store_true', help='measure through torch.compile')
    add_num(parser, 'rounds', None, f'times that each is timed; 0: memory only; default: {NUM_ROUNDS}', minimum=0)
    parser.add_argument('--no-memory', action='store_true', help='measure time only')
    sizes = [f'{shape[0]} x {shape[1]}' for shape in SWEEP]
    parser.add_argument(
        '--sweep', action='store_true', help=f'measure memory alone, at sizes from {sizes[0]} to {sizes[-1]}'
    )
    parser.add_argument(
        '--profile', action='store_true', help='measure the share of operators in the time on a CPU instead'
    )
    parser.add_argument(
        '--memory-limit', type=float, metavar='GB', help='size of a process in which memory is measured (CPU)'
    )
    add_out(parser, 'all that was measured, as JSON')
    parser.add_argument(
        '--plot',
        metavar='FILE',
        help='file to write: a bar chart, or curves with --sweep; if there are several, each name gets a number or the '
        'mode',
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    args = build_parser().parse_args(argv)
    use_safe_loading()
    with exit_on_user_error():
        run(Settings(**vars(args)))


if __name__ == '__main__':
    main()
