"""Loss and accuracy of a run over time, from the logs that mmengine writes."""
from __future__ import annotations

import json
from pathlib import Path

# Metrics worth a line, in the order of the legend: key in the log, name in the plot.
METRICS = {'coco/bbox_mAP': 'box AP', 'coco/bbox_mAP_50': 'box AP50', 'coco/bbox_mAP_75': 'box AP75',
           'coco/segm_mAP': 'mask AP', 'mIoU': 'mIoU', 'accuracy/top1': 'top-1'}


def read_scalars(work_dir: str | Path) -> tuple[list[dict], list[dict]]:
    """Training and validation records of a run, also of one that was resumed several times.

    Args:
        work_dir (str | Path): Folder of the run; the logs are its ``*/vis_data/scalars.json``.

    Returns:
        tuple[list[dict], list[dict]]: Training records by iteration, and validation records by
        step. Where a resumed run repeated a step, its last record counts.

    Raises:
        FileNotFoundError: There is no log in the folder.
    """
    logs = sorted(Path(work_dir).glob('*/vis_data/scalars.json'))
    if not logs:
        raise FileNotFoundError(f'{work_dir} holds no log of a run (*/vis_data/scalars.json).')
    train, val = {}, {}
    for log in logs:
        for line in log.read_text().splitlines():
            try:
                record = json.loads(line)
            except ValueError:  # the last line of a run that was killed
                continue
            if 'loss' in record:
                train[record['step']] = record
            elif any(key in record for key in METRICS):
                val[record['step']] = record
    return [train[step] for step in sorted(train)], [val[step] for step in sorted(val)]


def plot_curves(work_dir: str | Path, out: str | Path) -> Path:
    """Plot the losses and the validation metrics of a run side by side.

    Args:
        work_dir (str | Path): Folder of the run.
        out (str | Path): PNG file to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    train, val = read_scalars(work_dir)
    figure = Figure(figsize=(10, 4), layout='constrained')
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    steps = [record['step'] for record in train]
    for key in sorted({key for record in train for key in record if 'loss' in key}):
        left.plot(steps, [record.get(key) for record in train], label=key.replace('_', ' '), linewidth=1.2)
    left.set(title='training loss', xlabel='iteration', ylabel='loss', ylim=(0, None))
    left.legend(frameon=False)
    for key, name in METRICS.items():
        points = [(record['step'], record[key]) for record in val if key in record]
        if points:
            right.plot(*zip(*points), marker='o', markersize=3, label=f'{name}: {points[-1][1]:.3f} at the end')
    right.set(title='on the validation images', xlabel='epoch', ylim=(0, None))
    right.grid(alpha=0.3)
    if val:
        right.legend(frameon=False)
    else:
        right.text(0.5, 0.5, 'not evaluated yet', ha='center', transform=right.transAxes)
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=120)
    return out
