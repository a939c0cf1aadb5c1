"""Text tables: aligned ones for terminals and logs, and compact Markdown for the generated pages of the docs."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any


def format_table(header: Sequence[str], rows: Sequence[Sequence[Any]], text_columns: int = 1) -> str:
    """Return an aligned table that is valid Markdown, made by rich, which mmengine depends on.

    Args:
        header (Sequence[str]): Names of the columns.
        rows (Sequence[Sequence]): Cells, converted to text by ``str``; one for each column.
        text_columns (int): Number of columns on the left that are aligned to the left; the others, of numbers, are
            aligned to the right.

    Returns:
        str: Lines of equal length without a newline at the end; they are not wrapped, however long they are.
    """
    from rich.box import MARKDOWN
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=MARKDOWN)
    for i, name in enumerate(header):
        table.add_column(Text(name), no_wrap=True, justify='left' if i < text_columns else 'right')
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    stream = io.StringIO()
    # Wide enough for any table; the width and colors of the terminal have no part in it.
    Console(file=stream, width=10_000, force_terminal=False, color_system=None).print(table)
    return '\n'.join(line.strip() for line in stream.getvalue().splitlines() if line.strip())


def format_markdown(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a Markdown table without padding, so that a change of one row is a change of one line.

    Args:
        header (Sequence[str]): Names of the columns.
        rows (Sequence[Sequence]): Cells, converted to text by ``str``; one for each column.
    """
    lines = [header, ['---'] * len(header), *rows]
    return '\n'.join(f'| {" | ".join(map(str, line))} |' for line in lines)
