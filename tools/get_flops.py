"""Parameters and multiply-accumulates (MACs) of a backbone or of the model of a config, by stage.

MACs are given in two conventions: `layers` counts convolutions and linear layers, `with attention` the matrix
products of attention as well. Nothing is computed, so any size is counted in a moment.
"""

from __future__ import annotations

import argparse
import json

import torch

from mmrest.analysis.complexity import Cost, add_up, count_backbone
from mmrest.analysis.model_cost import count_model
from mmrest.analysis.published import ablation_table, comparison_table
from mmrest.apis import BACKBONES, build_backbone
from mmrest.checkpoints import use_safe_loading
from mmrest.engine import UsageError, check_target, exit_on_user_error, load_config
from mmrest.utils.cli import ArgumentParser, ConfigOptions, check_choice, refuse_idle
from mmrest.utils.fileio import atomic_write


def parse_args() -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', nargs='?', help='config file of any model with a backbone')
    parser.add_argument('--backbone', choices=list(BACKBONES), help='instead of a config, a backbone')
    parser.add_argument('--arch', help='its architecture, e.g. small')
    parser.add_argument(
        '--options',
        nargs='+',
        action=ConfigOptions,
        metavar='KEY=VALUE',
        help='further arguments of the backbone, e.g. style=win, or stem=resnet of ResTAblation',
    )
    parser.add_argument(
        '--cfg-options', nargs='+', action=ConfigOptions, metavar='KEY=VALUE', help='override settings of the config'
    )
    parser.add_argument(
        '--shape',
        nargs='+',
        type=int,
        metavar='PX',
        help='height and width of the image, or one number for both; default: 224',
    )
    parser.add_argument('--json', metavar='FILE', help='write the numbers there, too')
    parser.add_argument(
        '--published',
        action='store_true',
        help='print a table that compares every architecture with the figures of the papers',
    )
    parser.add_argument('--ablations', action='store_true', help="print a table of the ResT paper's ablations")
    return parser.parse_args()


def show(costs: list[Cost], shape: tuple[int, int]) -> None:
    whole = add_up(costs)
    width = max(len(cost.name) for cost in costs)
    print(f'One image of {shape[0]} x {shape[1]} (height x width)\n')
    print(f'{"":{width}}  {"parameters":>12}  {"GMACs: layers":>14}  {"attention":>10}  {"with attention":>14}')
    for cost in [*costs, whole]:
        macs = (
            ['not counted', '', '']
            if cost.layers is None
            else [f'{value / 1e9:.4f}' for value in (cost.layers, cost.attention, cost.total)]
        )
        print(f'{cost.name:{width}}  {cost.params:12,}  {macs[0]:>14}  {macs[1]:>10}  {macs[2]:>14}')
    if any(cost.layers is None for cost in costs):
        print('\nnot counted: depends on what is found in the image, or is for training only.')


def main() -> None:
    args = parse_args()
    use_safe_loading()
    with exit_on_user_error():
        if args.published or args.ablations:
            refuse_idle(
                args,
                ('config', 'backbone', 'arch', 'options', 'cfg_options', 'shape', 'json'),
                '--published' if args.published else '--ablations',
            )
            print('\n\n'.join([comparison_table()] * args.published + [ablation_table()] * args.ablations))
            return
        check_target(args.json, '--json', folder=False)
        given = args.shape or [224]
        if len(given) > 2 or min(given) < 1:
            raise UsageError('--shape takes one or two positive numbers.')
        shape = (given[0], given[-1])
        check_choice(args, ('cfg_options',))
        if args.config:
            costs = count_model(load_config(args.config, args.cfg_options), args.config, shape)
        else:
            with torch.device('meta'):
                backbone = build_backbone(args.backbone, args.arch, args.options)
            costs, _ = count_backbone(backbone, shape, args.backbone)
        show(costs, shape)
        if args.json:
            numbers = dict(shape=shape, parts=[vars(cost) for cost in costs])
            atomic_write(args.json, json.dumps(numbers, indent=1).encode())


if __name__ == '__main__':
    main()
