"""Tables and plots of what was measured."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Sequence

from ..engine.errors import UsageError
from ..utils.fileio import atomic_write

FORMATS = ('png', 'jpg', 'jpeg', 'pdf', 'svg')


def format_table(rows: Sequence[dict], columns: Sequence[str]) -> str:
    """Markdown table of the rows; what a row lacks stays empty."""
    cells = [list(columns)] + [[_text(row.get(column, '')) for column in columns] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    lines = ['| ' + ' | '.join(cell.ljust(width) for cell, width in zip(line, widths)) + ' |' for line in cells]
    lines.insert(1, '|' + '|'.join('-' * (width + 2) for width in widths) + '|')
    return '\n'.join(lines)


def _text(value) -> str:
    return (
        f'{value:.3g}'
        if isinstance(value, float) and abs(value) < 100
        else (f'{value:.0f}' if isinstance(value, float) else str(value))
    )


def plot_bars(rows: Sequence[dict], columns: Sequence[str], title: str, out: str | Path) -> Path:
    """One panel of horizontal bars for each column, a bar for each row.

    Args:
        rows (Sequence[dict]): With 'model' and the columns.
        columns (Sequence[str]): Numbers to draw; the name is the panel's title.
        title (str): Above all.
        out (str | Path): File to write, in one of :data:`FORMATS`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.6 * len(columns) + 1.5, 0.38 * len(rows) + 1.4), layout='constrained')
    FigureCanvasAgg(figure)
    labels = [row['model'] for row in rows]
    for i, (axis, column) in enumerate(zip(figure.subplots(1, len(columns), squeeze=False)[0], columns)):
        values = [row.get(column) if isinstance(row.get(column), (int, float)) else 0 for row in rows]
        bars = axis.barh(range(len(rows)), values, color=['tab:blue' if 'rest' in name else '0.65' for name in labels])
        axis.bar_label(bars, [_text(float(value)) if value else '-' for value in values], padding=2, fontsize=8)
        axis.set(title=column, yticks=range(len(rows)), xlim=(0, 1.2 * max(values + [1e-9])))
        axis.set_yticklabels(labels if i == 0 else [])
        axis.title.set_fontsize(10)
        axis.invert_yaxis()
        axis.spines[['top', 'right']].set_visible(False)
    figure.suptitle(title, fontsize=11)
    return _save(figure, out)


def plot_sweep(rows: Sequence[dict], title: str, out: str | Path) -> Path:
    """Peak memory against pixels on logarithmic axes, lines with their power laws; a word where one ran out.

    Args:
        rows (Sequence[dict]): With 'model', 'shape' (h, w), 'MB' (a number, or why there is none).
        title (str): Above the plot.
        out (str | Path): File to write, in one of :data:`FORMATS`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.6), layout='constrained')
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    for model in dict.fromkeys(row['model'] for row in rows):
        own = [row for row in rows if row['model'] == model]
        points = [(row['shape'][0] * row['shape'][1] / 1e6, row['MB']) for row in own if not isinstance(row['MB'], str)]
        if not points:
            continue
        label = f'{model} ~ pixels^{fit_power(points):.2f}' if len(points) > 1 else model
        (line,) = axis.plot(*zip(*points), marker='o', markersize=4, label=label)
        if len(points) < len(own):
            failed = own[len(points)]
            axis.annotate(
                failed['MB'], points[-1], xytext=(6, 4), textcoords='offset points', fontsize=8, color=line.get_color()
            )
    axis.set(xscale='log', yscale='log', xlabel='image, pixels (logarithmic)', ylabel='peak memory, MB', title=title)
    sizes = {row['shape'][0] * row['shape'][1] / 1e6: '{}x{}'.format(*row['shape']) for row in rows}
    axis.set_xticks(list(sizes), list(sizes.values()), fontsize=8)
    axis.set_xticks([], minor=True)
    axis.yaxis.set_major_formatter('{x:,.0f}')
    axis.grid(alpha=0.3, which='both')
    axis.legend(frameon=False)
    return _save(figure, out)


def fit_power(points: Sequence[tuple[float, float]]) -> float:
    """Exponent p of the least-squares fit y = a x^p, over (x, y) with positive numbers; 1 is linear."""
    from math import log

    logs = [(log(x), log(y)) for x, y in points]
    mean_x, mean_y = (sum(values) / len(logs) for values in zip(*logs))
    return sum((x - mean_x) * (y - mean_y) for x, y in logs) / sum((x - mean_x) ** 2 for x, _ in logs)


def fit_quadratic(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """(a, b) of the fit y = a x + b x^2 with least squares of relative errors, over (x, y) with y > 0."""
    import numpy as np

    x, y = np.array(points, dtype=float).T
    a, b = np.linalg.lstsq(np.stack([x / y, x**2 / y], axis=1), np.ones(len(x)), rcond=None)[0]
    return float(a), float(b)


def check_format(path: str | Path, option: str) -> None:
    """Check that a picture can be written in the format that the name of its file says.

    Args:
        path (str | Path): The file.
        option (str): What the user gave it as.

    Raises:
        UsageError: It has another ending, or none.
    """
    if _format(path) not in FORMATS:
        raise UsageError(f'{option} {path}: give a file that ends in .{", .".join(FORMATS)}.')


def _format(path: str | Path) -> str:
    return Path(path).suffix[1:].lower()


def _save(figure, out: str | Path) -> Path:
    picture = io.BytesIO()
    figure.savefig(picture, dpi=90, format=_format(out))
    atomic_write(out, picture.getvalue())
    return Path(out)
