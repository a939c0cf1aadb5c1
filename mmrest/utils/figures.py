"""Matplotlib figures without a display: one style, one set of colors, and one function that saves them."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .fileio import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette, which readers with color vision deficiency can tell apart as well.
COLORS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#000000')
FORMATS = ('png', 'jpg', 'jpeg', 'pdf', 'svg')


def new_figure(rows: int = 1, columns: int = 1, width: float = 4.2, height: float = 3.2) -> tuple[Figure, np.ndarray]:
    """Return a new figure and its axes.

    It is made without ``matplotlib.pyplot``, so neither the backend of the process nor its open figures change.

    Args:
        rows (int): Rows of panels.
        columns (int): Columns of panels.
        width (float): Width of a panel in inches.
        height (float): Height of a panel in inches.

    Returns:
        tuple[Figure, np.ndarray]: The figure, and an array (rows, columns) of axes.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows), layout='constrained')
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def save_figure(figure: Figure, out: str | Path, dpi: int = 120) -> Path:
    """Write a figure atomically.

    Args:
        figure (Figure): From :func:`new_figure`.
        out (str | Path): File to write, in one of :data:`FORMATS` by its suffix; its folder is made if need be.
        dpi (int): Pixels per inch, of formats that have pixels.

    Raises:
        ValueError: The suffix is not one of :data:`FORMATS`.
        OSError: The file cannot be written; it is unchanged.
    """
    out = Path(out)
    if out.suffix[1:].lower() not in FORMATS:
        raise ValueError(f'{out}: the name of a figure must end in .{", .".join(FORMATS)}.')
    content = io.BytesIO()
    figure.savefig(content, dpi=dpi, format=out.suffix[1:].lower())
    atomic_write(out, content.getvalue())
    return out


def figure_to_svg(figure: Figure, name: str) -> str:
    """Return a figure as an ``<svg>`` element for a page.

    It has the text color of the page in place of black, no background, and text as text.

    Args:
        figure (Figure): From :func:`new_figure`.
        name (str): Letters; the ids of the element begin with it, so that they are unique on the page.
    """
    import matplotlib

    content = io.StringIO()
    with matplotlib.rc_context({'svg.fonttype': 'none', 'svg.hashsalt': name}):
        figure.savefig(content, format='svg', transparent=True, metadata={'Date': None})
    text = content.getvalue()
    text = text[text.index('<svg') :].replace('#000000', 'currentColor')
    text = re.sub(r'(\bid="|url\(#|href="#)', rf'\1{name}-', text)
    return text.replace('<svg ', '<svg fill="currentColor" ', 1).strip()
