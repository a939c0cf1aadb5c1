"""Test a checkpoint: compute the config's metrics, and on request save or paint predictions."""

from mmrest.engine import build_runner, exit_on_user_error, load_config, make_parser, parse, prepare_test
from mmrest.visualization.files import check_paintable


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--out', help='for predictions: a .pkl file, or a folder in segmentation')
    parser.add_argument('--show', action='store_true', help='show painted images in a window')
    parser.add_argument('--show-dir', help='folder for painted images')
    parser.add_argument('--wait-time', type=float, default=2, help='seconds that --show shows an image')
    parser.add_argument('--tta', action='store_true', help='test-time augmentation')
    args = parse(parser)
    with exit_on_user_error():
        cfg = load_config(args.config, args.cfg_options, args.work_dir, args.launcher)
        prepare_test(cfg, args.checkpoint, args.out, args.show, args.show_dir, args.wait_time, args.tta)
        runner = build_runner(cfg)
        if args.show_dir:
            check_paintable(runner.test_loop.dataloader.dataset, '--show-dir')
        runner.test()


if __name__ == '__main__':
    main()
