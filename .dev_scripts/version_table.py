"""Print the table of tested versions from docs/compatibility.json.

With ``--write`` it goes into docs/installation.md, between the lines ``<!-- versions:begin -->`` and
``<!-- versions:end -->``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import matrix

PAGE = matrix.ROOT / 'docs/installation.md'
BEGIN, END = '<!-- versions:begin -->', '<!-- versions:end -->'
HEADER = (
    'Python',
    'torch, torchvision',
    'NumPy, OpenCV',
    'mmengine',
    'mmcv and its operators',
    'mmdet, mmseg, mmpretrain',
    'tests',
    'run on',
)
# Names of packages that the headers of the columns contain.
IN_HEADER = {
    'torch',
    'torchvision',
    'numpy',
    'opencv-python',
    'opencv-python-headless',
    'mmengine',
    'mmcv',
    'mmdet',
    'mmsegmentation',
    'mmpretrain',
}


def render(entries: dict[str, dict]) -> str:
    """Return the table in Markdown, with a row for each environment that was run."""
    rows = [HEADER, ['---'] * len(HEADER), *(_row(entry) for entry in entries.values())]
    return '\n'.join(f'| {" | ".join(row)} |' for row in rows)


def _row(entry: dict) -> list[str]:
    versions = entry['versions']
    operators = 'compiled for the CPU' if entry['operators'] == 'compiled' else 'by mmrest'
    return [
        versions['python'],
        *(_join(versions, *names) for names in (('torch', 'torchvision'), ('numpy', 'opencv'), ('mmengine',))),
        f'{_join(versions, "mmcv")}, {operators}',
        _join(versions, 'mmdet', 'mmseg', 'mmpretrain'),
        _tests(entry),
        entry['date'],
    ]


def _join(versions: dict[str, str], *columns: str) -> str:
    """Return the versions in some columns, with '-' for packages that are not installed."""
    return ', '.join(_short(versions[column]) if column in versions else '-' for column in columns)


def _short(installed: str) -> str:
    """Return the first of 'name version, ...', without the name if the header contains it."""
    name, version = installed.split(', ')[0].split()
    return version if name in IN_HEADER else f'{name} {version}'


def _tests(entry: dict) -> str:
    which = 'all' if entry['tests'] == 'make test' else 'selected'
    counts = [f'{entry["passed"]} passed']
    counts += [f'{entry[kind]} {kind}' for kind in ('failed', 'skipped') if entry[kind]]
    return f'{which}: {", ".join(counts)}'


def insert_table(text: str, table: str) -> str:
    """Return the text of a page with the table between its two marker comments.

    Raises:
        ValueError: The page does not have each comment once and in order.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f'The page needs the lines {BEGIN} and {END}, once each, for the table to go between them.')
    return f'{text[: text.index(BEGIN)]}{BEGIN}\n{table}\n{text[text.index(END) :]}'


def main(argv: list[str] | None = None, page: Path = PAGE) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--write', action='store_true', help='write it into docs/installation.md')
    args = parser.parse_args(argv)
    table = render(matrix.read_record())
    if not args.write:
        print(table)
        return
    try:
        text = insert_table(page.read_text(encoding='utf-8'), table)
    except ValueError as error:
        sys.exit(f'error: {error}')
    page.write_text(text, encoding='utf-8')


if __name__ == '__main__':
    main()
