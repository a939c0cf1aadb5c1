"""What all figures share: how they are begun, and how picture and numbers are saved."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

# Steps of a process and models of a comparison, told apart also by those who do not see all colours.
COLOURS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#000000')


def new_figure(rows: int, columns: int, width: float = 4.2, height: float = 3.2):
    """A figure and its axes, (rows, columns); width and height in inches are those of one of them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows), layout='constrained')
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def save_figure(figure, out: str | Path, dpi: int = 120) -> Path:
    """Write a PNG, in a folder that is made if need be."""
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=dpi)
    return out


def save_numbers(numbers: Any, out: str | Path) -> Path:
    """Write JSON; what is not a number (nan) becomes null."""
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(_plain(numbers), indent=1, allow_nan=False) + '\n', encoding='utf-8')
    return out


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if hasattr(value, 'tolist'):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value
