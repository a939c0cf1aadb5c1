"""The demo: draw the shapes data set, train a detector on it, test it, and picture the results."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import NamedTuple, Sequence

from mmengine.fileio import load

from ..engine import UsageError, run_tool
from ..installed import get_config_path
from .curves import plot_curves
from .pictures import plot_predictions

CONFIG = 'retinanet_rest_lite_fpn_shapes'
DATA = Path('data/shapes')


class DemoResult(NamedTuple):
    """Box AP of the detector, None if it found no object; the number of images it was tested on; the pictures."""

    box_ap: float | None
    num_images: int
    pictures: list[Path]


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


def run_demo(work_dir: str | Path, cfg_options: Sequence[str] = ()) -> DemoResult:
    """Run the steps of the demo; one that was interrupted goes on.

    Args:
        work_dir (str | Path): Folder for results. Data go to ``data/shapes`` in the current folder.
        cfg_options (Sequence[str]): 'key=value' texts that are handed on to training and testing.

    Raises:
        UsageError: A step failed.
    """
    config, folder = Path(get_config_path(CONFIG)), Path(work_dir).resolve()
    options = ['--cfg-options', *cfg_options] if cfg_options else []
    run_tool('draw_shapes.py', DATA)
    run_tool('train.py', config, '--work-dir', str(work_dir), '--resume', *options)
    checkpoint = (folder / 'last_checkpoint').read_text().strip()
    predictions = folder / 'predictions.pkl'
    run_tool('test.py', config, checkpoint, '--work-dir', str(work_dir), '--out', predictions, *options)

    ann_file, img_dir = DATA / 'annotations/instances_val.json', DATA / 'images/val'
    pictures = [
        plot_predictions(ann_file, img_dir, load(predictions), folder / 'predictions.png'),
        plot_curves(folder, folder / 'curves.png'),
    ]
    metrics = json.loads(max(folder.glob('*/*.json')).read_text())
    return DemoResult(metrics.get('coco/bbox_mAP'), len(load(ann_file)['images']), pictures)
