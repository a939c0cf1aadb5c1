"""Draw a data set, train, test and report; a few minutes on a CPU.

Images go to data/shapes in the current folder. An interrupted demo goes on when it is run again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from pathlib import Path
from typing import Sequence

from mmengine.fileio import load

from ..analysis import plot_curves
from ..engine import UsageError, exit_on_user_error, run_tool
from ..utils.cli import ArgumentParser, add_cfg_options, add_work_dir
from ..utils.resources import get_config_path
from ..visualization import plot_predictions

CONFIG = 'retinanet_rest_lite_fpn_shapes'
DATA = Path('data/shapes')


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = ArgumentParser(description=__doc__)
    add_work_dir(parser, 'work_dirs/demo')
    parser.add_argument('--fresh', action='store_true', help='start over: remove the work dir of an earlier demo first')
    add_cfg_options(parser, as_text=True)
    return parser


def remove_demo(work_dir: Path) -> None:
    """Remove the folder of an earlier demo.

    Raises:
        UsageError: The folder holds something else, or is the current one.
    """
    if not work_dir.exists():
        return
    if not (work_dir / f'{CONFIG}.py').is_file() or work_dir in (Path.cwd(), *Path.cwd().parents):
        raise UsageError(f'{work_dir} is not the folder of a demo: it is not removed.')
    shutil.rmtree(work_dir, ignore_errors=True)


def run_steps(work_dir: str, cfg_options: Sequence[str]) -> Path:
    """Draw, train and test, each in a process of its own, and return the file of predictions."""
    config, folder = Path(get_config_path(CONFIG)), Path(work_dir).resolve()
    options = ['--cfg-options', *cfg_options] if cfg_options else []
    run_tool('draw_shapes.py', DATA)
    run_tool('train.py', config, '--work-dir', work_dir, '--resume', *options)
    checkpoint = (folder / 'last_checkpoint').read_text().strip()
    predictions = folder / 'predictions.pkl'
    results = ['--out', predictions, '--report', folder / 'report']
    run_tool('test.py', config, checkpoint, '--work-dir', work_dir, *results, *options)
    return predictions


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    args = build_parser().parse_args(argv)
    work_dir, start = Path(args.work_dir).resolve(), time.time()
    with exit_on_user_error():
        if args.fresh:
            remove_demo(work_dir)
        predictions = run_steps(args.work_dir, args.cfg_options)
        ann_file, img_dir = DATA / 'annotations/instances_val.json', DATA / 'images/val'
        pictures = [
            plot_predictions(ann_file, img_dir, load(predictions), work_dir / 'predictions.png'),
            plot_curves(work_dir, work_dir / 'curves.png'),
        ]
        metrics = json.loads(max(work_dir.glob('*/*.json')).read_text())
        # mmdet computes nothing where nothing was found.
        ap = f'box AP {metrics["coco/bbox_mAP"]:.3f}' if 'coco/bbox_mAP' in metrics else 'the detector found no object'
        images = len(load(ann_file)['images'])
        print(f'\nDone in {(time.time() - start) / 60:.1f} minutes: {ap} on {images} validation images.')
        looks = [
            f'Open in a browser: {work_dir / "report/index.html"}',
            'Pictures:',
            *(f'  {each}' for each in pictures),
        ]
        print('\n'.join([*looks, f'Checkpoint and logs: {work_dir}']))


if __name__ == '__main__':
    main()
