"""The whole job on data it draws itself: draw, train, test, and picture the results. A few minutes on a CPU.

Works from any folder: images go to data/shapes and results to work_dirs/demo in the current one.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from mmengine.fileio import load

from mmrest.analysis import plot_curves
from mmrest.utils.cli import ArgumentParser
from mmrest.utils.resources import relative_to_here
from mmrest.visualization import plot_predictions

TOOLS = Path(__file__).resolve().parent
CONFIG = TOOLS.parent / 'configs' / 'retinanet_rest_lite_fpn_shapes.py'
DATA = Path('data/shapes')


def run(tool: str, *args: str | Path) -> None:
    """Run another of these tools, and show how."""
    command = [str(relative_to_here(arg) if isinstance(arg, Path) else arg) for arg in (TOOLS / tool, *args)]
    print('\n$ python ' + ' '.join(command), flush=True)
    status = subprocess.run([sys.executable, *command]).returncode
    if status:
        raise SystemExit(f'The demo stopped: this step failed with exit status {status}.')


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--work-dir', default='work_dirs/demo', help='folder for results; default: %(default)s')
    parser.add_argument('--fresh', action='store_true', help='start over instead of resuming an interrupted demo')
    parser.add_argument('--cfg-options', nargs='+', default=[], help='handed on to train.py and test.py')
    args = parser.parse_args()
    work_dir = Path(args.work_dir).resolve()
    if args.fresh and work_dir.exists():
        if not (work_dir / CONFIG.name).is_file() or work_dir in Path.cwd().parents or work_dir == Path.cwd():
            raise SystemExit(f'{work_dir} is not the folder of a demo: it is not removed.')
        shutil.rmtree(work_dir, ignore_errors=True)
    start = time.time()

    options = ['--cfg-options', *args.cfg_options] if args.cfg_options else []
    run('draw_shapes.py', DATA)
    run('train.py', CONFIG, '--work-dir', args.work_dir, '--resume', *options)
    checkpoint = (work_dir / 'last_checkpoint').read_text().strip()
    predictions = work_dir / 'predictions.pkl'
    run('test.py', CONFIG, checkpoint, '--work-dir', args.work_dir, '--out', predictions, *options)

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
    print('\n'.join(['Look at:', *(f'  {picture}' for picture in pictures), f'Checkpoint and logs: {work_dir}']))


if __name__ == '__main__':
    main()
