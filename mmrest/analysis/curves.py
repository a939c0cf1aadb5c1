"""Training curves of runs, read from the logs of mmengine: losses, learning rate and validation metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Sequence

from ..utils.figures import COLORS, figure_to_svg, new_figure, save_figure
from ..utils.fileio import read_json_lines

# Metrics to plot, in the order of the legend: key in the log to name in the plot.
METRICS = {
    'coco/bbox_mAP': 'box AP',
    'coco/bbox_mAP_50': 'box AP50',
    'coco/bbox_mAP_75': 'box AP75',
    'coco/segm_mAP': 'mask AP',
    'mIoU': 'mIoU',
    'accuracy/top1': 'top-1',
}


def read_scalars(work_dir: str | Path) -> tuple[list[dict], list[dict]]:
    """Read the training and validation records of a run, across all times that it was resumed.

    Args:
        work_dir (str | Path): Folder of the run, with the logs ``*/vis_data/scalars.json``.

    Returns:
        tuple[list[dict], list[dict]]: Training records and validation records, each in the order of ``step``. Of a
        step that a resumed run repeated, the last record is kept.

    Raises:
        FileNotFoundError: There is no log in the folder.
    """
    logs = sorted(Path(work_dir).glob('*/vis_data/scalars.json'))
    if not logs:
        raise FileNotFoundError(f'{work_dir} holds no log of a run (*/vis_data/scalars.json).')
    train, val = {}, {}
    for log in logs:
        for record in read_json_lines(log):
            if 'loss' in record:
                train[record['step']] = record
            elif any(key in record for key in METRICS):
                val[record['step']] = record
    return [train[step] for step in sorted(train)], [val[step] for step in sorted(val)]


def plot_curves(work_dir: str | Path, out: str | Path) -> Path:
    """Plot the losses of a run, and beside them its validation metrics.

    Args:
        work_dir (str | Path): Folder of the run.
        out (str | Path): Image file to write.
    """
    train, val = read_scalars(work_dir)
    figure, ((left, right),) = new_figure(1, 2, width=5, height=4)
    _draw_losses(left, train)
    _draw_metrics(right, train, val)
    return save_figure(figure, out)


def chart_curves(work_dir: str | Path) -> list[tuple[str, str]]:
    """Draw the losses of a run and its validation metrics for a page.

    Args:
        work_dir (str | Path): Folder of the run.

    Returns:
        list[tuple[str, str]]: Captions and ``<svg>`` elements; none if the folder holds no log.
    """
    try:
        train, val = read_scalars(work_dir)
    except FileNotFoundError:
        return []
    charts = []
    for name, caption, draw, records in (
        ('losses', 'losses in training', _draw_losses, (train,)),
        ('metrics', 'metrics of the validations during training', _draw_metrics, (train, val)),
    ):
        if records[-1]:
            figure, ((axis,),) = new_figure(width=5, height=3.4)
            draw(axis, *records)
            charts.append((caption, figure_to_svg(figure, name)))
    return charts


def _draw_losses(axis: Any, train: Sequence[dict]) -> None:
    steps = [record['step'] for record in train]
    for key in sorted({key for record in train for key in record if 'loss' in key}):
        axis.plot(steps, [record.get(key) for record in train], label=key.replace('_', ' '), linewidth=1.2)
    axis.set(title='training loss', xlabel='iteration', ylabel='loss', ylim=(0, None))
    axis.legend(frameon=False)


def _draw_metrics(axis: Any, train: Sequence[dict], val: Sequence[dict]) -> None:
    for key, name in METRICS.items():
        points = [(record['step'], record[key]) for record in val if key in record]
        if points:
            axis.plot(*zip(*points), marker='o', markersize=3, label=f'{name}: {points[-1][1]:.3f} at the end')
    axis.set(title='on the validation images', xlabel=_val_unit(train, val), ylim=(0, None))
    axis.grid(alpha=0.3)
    if val:
        axis.legend(frameon=False)
    else:
        axis.text(0.5, 0.5, 'not evaluated yet', ha='center', transform=axis.transAxes)


def compare_curves(work_dirs: Sequence[str | Path], metric: str | None = None) -> dict:
    """Collect loss, learning rate and one metric of several runs for :func:`plot_comparison`.

    Args:
        work_dirs (Sequence[str | Path]): Folders of runs; the ends of their paths name the lines.
        metric (str, optional): A key of :data:`METRICS`. Default: the first one that any run logged.

    Returns:
        dict: ``metric``; and ``runs``, from names to dicts with ``loss``, ``lr`` and ``val``, lists of (step, value),
        and ``val_unit``, 'epoch' or 'iteration'.

    Raises:
        FileNotFoundError: A folder holds no log.
        ValueError: No run logged the metric.
    """
    logs = {name: read_scalars(folder) for name, folder in zip(_names(work_dirs), work_dirs)}
    logged = [key for key in METRICS if any(key in record for _, val in logs.values() for record in val)]
    if metric and metric not in logged:
        raise ValueError(f'None of the runs logged {metric}; they logged {", ".join(logged) or "no metric"}.')
    metric = metric or (logged[0] if logged else None)
    runs = {}
    for name, (train, val) in logs.items():
        runs[name] = dict(
            loss=[(r['step'], r['loss']) for r in train],
            lr=[(r['step'], r['lr']) for r in train if 'lr' in r],
            val=[(r['step'], r[metric]) for r in val if metric in r],
            val_unit=_val_unit(train, val),
        )
    return dict(metric=metric, runs=runs)


def plot_comparison(compared: dict, out: str | Path, smooth: int = 1) -> Path:
    """Plot loss, learning rate and metric of several runs in shared axes.

    Args:
        compared (dict): From :func:`compare_curves`.
        out (str | Path): Image file to write.
        smooth (int): Number of logged values that the loss is averaged over.
    """
    figure, ((loss, rate, metric),) = new_figure(1, 3, width=4.6, height=3.8)
    for i, (name, run) in enumerate(compared['runs'].items()):
        style = dict(color=COLORS[i % len(COLORS)], linestyle=('-', '--', ':')[i // len(COLORS) % 3], linewidth=1.3)
        loss.plot(*zip(*_smoothed(run['loss'], smooth)) if run['loss'] else ([], []), label=name, **style)
        rate.plot(*zip(*run['lr']) if run['lr'] else ([], []), label=name, **style)
        if run['val']:
            metric.plot(*zip(*run['val']), marker='o', markersize=4, label=f'{name}: {run["val"][-1][1]:.3f}', **style)
        else:
            metric.plot([], [], label=f'{name}: has none', **style)
    suffix = f', mean over {smooth} logged values' if smooth > 1 else ''
    loss.set(title=f'training loss{suffix}', xlabel='iteration', ylabel='loss', ylim=(0, None))
    rate.set(title='learning rate', xlabel='iteration', ylim=(0, None))
    units = sorted({run['val_unit'] for run in compared['runs'].values() if run['val']})
    metric.set(
        title=f'{METRICS.get(compared["metric"], "no metric")} on the validation images, with its last value',
        xlabel=' or '.join(units),
        ylim=(0, None),
    )
    metric.title.set_fontsize(10)
    for axis in (loss, rate, metric):
        axis.grid(alpha=0.3)
    metric.legend(frameon=False, fontsize=8)
    return save_figure(figure, out)


def _names(work_dirs: Sequence[str | Path]) -> list[str]:
    """Return the shortest ends of the paths that are all different."""
    paths = [Path(folder).resolve().parts for folder in work_dirs]
    length = next((n for n in range(1, max(map(len, paths)) + 1) if len({p[-n:] for p in paths}) == len(paths)), 1)
    return ['/'.join(path[-length:]) for path in paths]


def _val_unit(train: Sequence[dict], val: Sequence[dict]) -> str:
    """Return the unit of ``step`` in validation records, 'epoch' or 'iteration', which the records do not name."""
    by_epoch = any('epoch' in record for record in train) and not any(
        record['step'] > max(r.get('epoch', 0) for r in train) for record in val
    )
    return 'epoch' if by_epoch or not train else 'iteration'


def _smoothed(points: Sequence[tuple[int, float]], width: int) -> list[tuple[int, float]]:
    return [
        (step, sum(v for _, v in points[max(i + 1 - width, 0) : i + 1]) / min(width, i + 1))
        for i, (step, _) in enumerate(points)
    ]
