"""The page of a report, read back: its tables, cards, notes and pictures."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np

VOID = {'meta', 'img', 'br', 'hr', 'link', 'input'}


class ReportPage(HTMLParser):
    """A page whose tags are balanced and which loads nothing from elsewhere.

    Attributes:
        tables (dict): Rows of cell texts, the header first, by class of the table.
        cards (dict): Texts of the metrics by name.
        notes (list[str]): Sentences that stand out.
        texts (list[str]): All texts outside of the style sheet.
        pictures (list): (text for the alt attribute, (H, W, 3) uint8 in BGR).
        tags (list[str]): Names of all elements.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.tables, self.cards, self.notes, self.texts, self.pictures, self.tags = {}, {}, [], [], [], []
        self._open: list[tuple[str, str]] = []
        self._rows: list[list[str]] = []
        self._value = ''
        self.feed(path.read_text(encoding='utf-8'))
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        attributes = dict(attrs)
        self.tags.append(tag)
        for name, value in attrs:
            assert not name.startswith('on'), f'{tag} has a handler'
            if name in ('src', 'href', 'srcset', 'data', 'xlink:href'):
                assert re.match(r'data:image/jpeg;base64,|#', value), f'{tag} loads {value[:60]}'
        kind = attributes.get('class', '')
        if tag == 'table':
            self._rows = self.tables[kind] = []
        elif tag == 'tr':
            self._rows.append([])
        elif tag in ('td', 'th'):
            self._rows[-1].append('')
        elif tag == 'p' and kind == 'note':
            self.notes.append('')
        elif tag == 'img':
            content = base64.b64decode(attributes['src'].partition(',')[2], validate=True)
            self.pictures.append((attributes['alt'], cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)))
        if tag not in VOID:
            self._open.append((tag, kind))

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open and self._open.pop()[0] == tag, f'</{tag}> closes another element'

    def handle_data(self, data: str) -> None:
        tag, kind = self._open[-1] if self._open else ('', '')
        if tag == 'style':
            assert '@import' not in data and not re.search(r'url\((?!#)', data)
            return
        if data.strip():
            self.texts.append(data.strip())
        if tag in ('td', 'th'):
            self._rows[-1][-1] += data.strip()
        elif tag == 'p' and kind == 'note':
            self.notes[-1] += data.strip()
        elif tag == 'b':
            self._value = data.strip()
        elif tag == 'span' and self._value:
            self.cards[data.strip()], self._value = self._value, ''

    def column(self, table: str, name: str) -> dict[str, str]:
        """Return the texts of a column of a table, by name of the row."""
        header, *rows = self.tables[table]
        return {row[0]: row[header.index(name)] for row in rows}
