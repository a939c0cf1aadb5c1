"""Train a detector, segmentor or other model of the OpenMMLab family from its config."""
from mmrest.engine import build_runner, clear_errors, load_config, make_parser, parse, prepare_train


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument('--amp', action='store_true', help='mixed precision (needs a GPU)')
    parser.add_argument('--auto-scale-lr', action='store_true',
                        help="scale the learning rate by actual batch / the recipe's batch")
    parser.add_argument('--resume', nargs='?', const='auto', metavar='PATH',
                        help='resume from a checkpoint; without a path, from the last one in the work dir')
    args = parse(parser)
    with clear_errors():
        cfg = load_config(args.config, args.cfg_options, args.work_dir, args.launcher)
        prepare_train(cfg, args.amp, args.auto_scale_lr, args.resume)
        build_runner(cfg, train=True).train()


if __name__ == '__main__':
    main()
