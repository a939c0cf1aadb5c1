"""Count parameters and multiply-accumulates (MACs) by stage: of a backbone, or of the model of a config.

MACs are given in two conventions: "layers" counts convolutions and linear layers, "with attention" the matrix
products of attention as well. Nothing is computed, so any size is counted in a moment.
"""

from __future__ import annotations

import argparse
from typing import Sequence

from ..analysis.model_cost import count_architecture, count_model, format_costs
from ..analysis.published import ablation_table, comparison_table
from ..apis import BACKBONES
from ..checkpoints import use_safe_loading
from ..engine import check_target, exit_on_user_error, load_config
from ..utils.cli import (
    ArgumentParser,
    add_backbone,
    add_cfg_options,
    add_config,
    add_out,
    add_shape,
    check_config_or_backbone,
    refuse_unused_options,
)
from ..utils.fileio import write_json

SHAPE = (224, 224)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = ArgumentParser(description=__doc__)
    add_config(parser, optional=True)
    add_backbone(parser, BACKBONES)
    add_cfg_options(parser)
    add_shape(parser, None, f'; default: {SHAPE[0]} {SHAPE[1]}')
    add_out(parser, 'the numbers, as JSON')
    parser.add_argument(
        '--published',
        action='store_true',
        help='print a table that compares every architecture with the figures of the papers',
    )
    parser.add_argument(
        '--ablations', action='store_true', help="print a table with the costs of the ResT paper's ablations"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    args = build_parser().parse_args(argv)
    use_safe_loading()
    with exit_on_user_error():
        if args.published or args.ablations:
            unused = ('config', 'backbone', 'arch', 'options', 'cfg_options', 'shape', 'out')
            refuse_unused_options(args, unused, '--published' if args.published else '--ablations')
            print('\n\n'.join([comparison_table()] * args.published + [ablation_table()] * args.ablations))
            return
        check_target(args.out, '--out', folder=False)
        check_config_or_backbone(args, ('cfg_options',))
        shape = tuple(args.shape or SHAPE)
        if args.config:
            costs = count_model(load_config(args.config, args.cfg_options), args.config, shape)
        else:
            costs = count_architecture(args.backbone, args.arch, args.options, shape)
        print(format_costs(costs, shape))
        if args.out:
            numbers = dict(shape=shape, parts=[vars(cost) for cost in costs])
            write_json(args.out, numbers)


if __name__ == '__main__':
    main()
