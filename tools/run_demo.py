"""The whole job on data it draws itself: draw, train, test, and picture the results. A few minutes on a CPU."""
from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from mmengine.fileio import load

from mmrest.analysis import plot_curves, plot_predictions

REPO = Path(__file__).resolve().parents[1]
CONFIG = 'configs/retinanet_rest_lite_fpn_shapes.py'
DATA = Path('data/shapes')


def run(*command: str) -> None:
    """Run one of this repository's tools, and show how."""
    print('\n$ python ' + ' '.join(command), flush=True)
    status = subprocess.run([sys.executable, *command], cwd=REPO).returncode
    if status:
        raise SystemExit(f'The demo stopped: this step failed with exit status {status}.')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--work-dir', default='work_dirs/demo', help='folder for results; default: %(default)s')
    parser.add_argument('--fresh', action='store_true', help='start over instead of resuming an interrupted demo')
    parser.add_argument('--cfg-options', nargs='+', default=[], help='handed on to train.py and test.py')
    args = parser.parse_args()
    work_dir = REPO / args.work_dir
    if args.fresh:
        shutil.rmtree(work_dir, ignore_errors=True)
    start = time.time()

    options = ['--cfg-options', *args.cfg_options] if args.cfg_options else []
    run('tools/draw_shapes.py', str(DATA))
    run('tools/train.py', CONFIG, '--work-dir', args.work_dir, '--resume', *options)
    checkpoint = (work_dir / 'last_checkpoint').read_text().strip()
    predictions = work_dir / 'predictions.pkl'
    run('tools/test.py', CONFIG, checkpoint, '--work-dir', args.work_dir, '--out', str(predictions), *options)

    ann_file, img_dir = REPO / DATA / 'annotations/instances_val.json', REPO / DATA / 'images/val'
    pictures = [plot_predictions(ann_file, img_dir, load(predictions), work_dir / 'predictions.png'),
                plot_curves(work_dir, work_dir / 'curves.png')]
    metrics = json.loads(max(work_dir.glob('*/*.json')).read_text())
    print(f'\nDone in {(time.time() - start) / 60:.1f} minutes: box AP {metrics["coco/bbox_mAP"]:.3f} on '
          f'{len(load(ann_file)["images"])} validation images.')
    print('\n'.join(['Look at:', *(f'  {picture}' for picture in pictures), f'Checkpoint and logs: {work_dir}']))


if __name__ == '__main__':
    main()
