"""The fenced blocks of README.md and docs/, with the comment above each that says what becomes of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from conftest import REPO

RUN_BY = re.compile(r'run by (?P<test>tests/\S+\.py)(?:, on top of (?P<base>docs/examples/\w+\.py))?')
# What a test cannot have, or should not do.
NOT_RUN = re.compile(
    r"needs (?:COCO|ADE20K|ImageNet|a GPU|the authors' files|the internet)"
    r"(?:(?:,| and|, and) (?:COCO|ADE20K|ImageNet|a GPU|the authors' files|the internet))*"
    r'|minutes of CPU: .+'
)
FENCE = re.compile(r'^(?P<indent> *)(?P<fence>```+|~~~+)(?P<language>\w*).*$')
COMMENT = re.compile(r'^\s*<!--\s*(.*?)\s*-->\s*$')


@dataclass
class Block:
    """One fenced block."""

    page: Path  # relative to the repository
    line: int  # of its fence, from 1
    language: str
    mark: str  # the text of the HTML comment above it, or ''
    text: str

    @property
    def run_by(self) -> re.Match | None:
        return RUN_BY.fullmatch(self.mark)

    def __str__(self) -> str:
        return f'{self.page}:{self.line}'


def read_blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page, in order.

    Raises:
        ValueError: A block is not closed.
    """
    lines = page.read_text(encoding='utf-8').splitlines()
    blocks, opened = [], None
    for number, line in enumerate(lines, 1):
        if opened is None:
            opened = FENCE.match(line)
            start = number
        elif line.strip() == opened['fence']:
            above = COMMENT.match(next((text for text in reversed(lines[: start - 1]) if text.strip()), ''))
            indent = len(opened['indent'])
            text = '\n'.join(text[indent:] for text in lines[start : number - 1]) + '\n'
            blocks.append(Block(page.relative_to(REPO), start, opened['language'], above[1] if above else '', text))
            opened = None
    if opened is not None:
        raise ValueError(f'{page}: the block of line {start} is not closed.')
    return blocks


def pages() -> list[Path]:
    """README.md and everything under docs/."""
    return [REPO / 'README.md', *sorted((REPO / 'docs').rglob('*.md'))]


def blocks_for(test: str, page: str) -> list[Block]:
    """Return the blocks of a page that are marked as run by a test file.

    Args:
        test (str): Path of the test file from the repository, e.g. 'tests/test_docs.py'.
        page (str): Path of the page from the repository, e.g. 'README.md'.
    """
    found = [block for block in read_blocks(REPO / page) if block.run_by and block.run_by['test'] == test]
    assert found, f'{page} has no block that is run by {test}'
    return found
