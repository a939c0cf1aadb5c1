"""Tables and plots of benchmark results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..engine.errors import UsageError
from ..utils import tables
from ..utils.figures import FORMATS, new_figure, save_figure


def format_table(rows: Sequence[dict], columns: Sequence[str], text_columns: int = 1) -> str:
    """Return a table of results, floats with three significant digits.

    Args:
        rows (Sequence[dict]): Results by name of the column; missing ones leave their cell empty.
        columns (Sequence[str]): Columns to show.
        text_columns (int): Number of columns on the left that hold text.
    """
    cells = [[_format_value(row.get(column, '')) for column in columns] for row in rows]
    return tables.format_table(columns, cells, text_columns)


def _format_value(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f'{value:.3g}' if abs(value) < 100 else f'{value:.0f}'


def plot_bars(rows: Sequence[dict], columns: Sequence[str], title: str, out: str | Path) -> Path:
    """Draw a panel of horizontal bars for each column, with a bar for each row.

    Args:
        rows (Sequence[dict]): Results, with 'model' and the columns.
        columns (Sequence[str]): Columns of numbers; their names are the titles of the panels.
        title (str): Title of the figure.
        out (str | Path): File to write, in one of :data:`~mmrest.utils.figures.FORMATS`.
    """
    figure, axes = new_figure(1, len(columns), width=3.6 + 1.5 / len(columns), height=0.38 * len(rows) + 1.4)
    labels = [row['model'] for row in rows]
    for i, (axis, column) in enumerate(zip(axes[0], columns)):
        values = [row.get(column) if isinstance(row.get(column), (int, float)) else 0 for row in rows]
        bars = axis.barh(range(len(rows)), values, color=['tab:blue' if 'rest' in name else '0.65' for name in labels])
        axis.bar_label(bars, [_format_value(float(value)) if value else '-' for value in values], padding=2, fontsize=8)
        axis.set(title=column, yticks=range(len(rows)), xlim=(0, 1.2 * max(values + [1e-9])))
        axis.set_yticklabels(labels if i == 0 else [])
        axis.title.set_fontsize(10)
        axis.invert_yaxis()
        axis.spines[['top', 'right']].set_visible(False)
    figure.suptitle(title, fontsize=11)
    return save_figure(figure, out, dpi=90)


def plot_sweep(rows: Sequence[dict], title: str, out: str | Path) -> Path:
    """Draw peak memory over the number of pixels on logarithmic axes, with a fitted power law for each model.

    Args:
        rows (Sequence[dict]): Results, with 'model', 'shape' (H, W) and 'MB', a number or the reason for a failure,
            which is written at the end of the line.
        title (str): Title of the figure.
        out (str | Path): File to write, in one of :data:`~mmrest.utils.figures.FORMATS`.
    """
    figure, ((axis,),) = new_figure(width=7, height=4.6)
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
    return save_figure(figure, out, dpi=90)


def fit_power(points: Sequence[tuple[float, float]]) -> float:
    """Return the exponent p of the least-squares fit y = a x^p, over points (x, y) of positive numbers."""
    x, y = np.log(np.array(points, dtype=float)).T
    return float(np.polyfit(x, y, 1)[0])


def fit_quadratic(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return (a, b) of the fit y = a x + b x^2 by least squares of relative errors, over points (x, y) with y > 0."""
    x, y = np.array(points, dtype=float).T
    a, b = np.linalg.lstsq(np.stack([x / y, x**2 / y], axis=1), np.ones(len(x)), rcond=None)[0]
    return float(a), float(b)


def check_format(path: str | Path, option: str) -> None:
    """Check the suffix of a figure's file.

    Args:
        path (str | Path): The file.
        option (str): Option of the command line that names it.

    Raises:
        UsageError: It is none of :data:`~mmrest.utils.figures.FORMATS`.
    """
    if Path(path).suffix[1:].lower() not in FORMATS:
        raise UsageError(f'{option} {path}: give a file that ends in .{", .".join(FORMATS)}.')
