"""JSON files read with progress, and only if they fit into memory."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...utils.progress import Progress, no_progress
from .report import DataError

# Python holds parsed annotations in several times the bytes of their file.
_MEMORY_PER_BYTE = 4
# Characters that are parsed at a time, between two reports of progress.
_PIECE = 4_000_000
_SPACE = ' \t\n\r'


def read_json(path: str | Path, progress: Progress = no_progress) -> Any:
    """Read a JSON file, which has no means of running code.

    Args:
        path (str | Path): The file.
        progress (callable): See :mod:`mmrest.utils.progress`.

    Raises:
        DataError: It is missing, no JSON, nested beyond reason, or too large for this machine's memory.
    """
    path = Path(path)
    check_size(path)
    try:
        with progress(f'reading {path.name}', path.stat().st_size, 'MB') as advance, path.open('rb') as file:
            pieces = []
            while piece := file.read(4 * _PIECE):
                pieces.append(piece)
                advance(len(piece))
            text = b''.join(pieces).decode('utf-8')
            del pieces
        with progress(f'parsing {path.name}', len(text), 'MB') as advance, gc_paused():
            return parse_json(text, advance)
    except (ValueError, RecursionError) as error:
        raise DataError(f'{path} is not a JSON file that can be read: {error or type(error).__name__}.') from error


def check_size(path: str | Path) -> None:
    """Check that a JSON file is there and that its contents fit into memory.

    Raises:
        DataError: It is not, or they do not.
    """
    try:
        size = Path(path).stat().st_size
    except OSError as error:
        raise DataError(f'{path} cannot be read: {error.strerror}.') from error
    free = _free_memory()
    if free is not None and size * _MEMORY_PER_BYTE > free:
        raise DataError(
            f'{path} has {size / 1e9:.1f} GB, and its contents would not fit into the {free / 1e9:.1f} GB '
            'of memory that are free. Split it, or use a machine with more.'
        )


def _free_memory() -> int | None:
    """Bytes that processes can still have; None where Linux does not tell."""
    try:
        with open('/proc/meminfo') as file:
            line = next(line for line in file if line.startswith('MemAvailable:'))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration, ValueError):
        return None


@contextmanager
def gc_paused() -> Iterator[None]:
    """Spare the garbage collector going through millions of new objects again and again, none of which is garbage."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def parse_json(text: str, advance: Callable[[int], None], piece: int = _PIECE) -> Any:
    """Parse JSON, piece by piece where it is an object with long lists of objects.

    Args:
        text (str): JSON.
        advance (callable): Called with the number of characters parsed since the last call.
        piece (int): Number of characters to parse at a time.

    Raises:
        ValueError: It is no JSON.
    """
    try:
        return _parse_object(text, advance, piece)
    except (ValueError, IndexError):
        return json.loads(text)  # not an object, or it says what is wrong


def _parse_object(text: str, advance: Callable[[int], None], piece: int) -> dict:
    decode = json.JSONDecoder().raw_decode
    content: dict[str, Any] = {}
    place = _skip(text, 0)
    separator = '{'
    while text[place] == separator:
        separator = ','
        start, place = place, _skip(text, place + 1)
        if text[place] == '}' and not content:
            break
        key, place = decode(text, place)
        place = _skip(text, place)
        if not isinstance(key, str) or text[place] != ':':
            raise ValueError
        place = _skip(text, place + 1)
        if text[place] == '[':
            advance(place - start)
            start = place
            items, place = _parse_items(text, place + 1, advance, piece)
            if items:
                rest, length = decode('[' + text[place:], 0)
                content[key] = items + rest
                advance(length)
                place = _skip(text, place + length - 1)
                continue
            place = start
        content[key], place = decode(text, place)
        place = _skip(text, place)
        advance(place - start)
    if text[place] != '}' or _skip(text, place + 1) != len(text):
        raise ValueError
    return content


def _parse_items(text: str, place: int, advance: Callable[[int], None], piece: int) -> tuple[list, int]:
    """Parse objects from a place in a list on, as far as whole pieces go; returns them and where the next one begins.

    A piece that is cut inside of an object, or reaches beyond the end of the list, is no JSON.
    """
    items: list[Any] = []
    while place + piece < len(text):
        end, following = _find_cut(text, place, place + piece)
        try:
            new = json.loads(f'[{text[place:end]}]') if end else None
        except ValueError:
            break
        if not new:
            break
        items += new
        advance(following - place)
        place = following
    return items, place


def _find_cut(text: str, start: int, end: int) -> tuple[int, int]:
    """Return the end of the last object before ``end`` that another one follows, and where that begins; or zeros."""
    following = end
    for _ in range(1000):
        following = text.rfind('{', start + 1, following)
        if following < 0:
            break
        place = following - 1
        while text[place] in _SPACE:
            place -= 1
        if text[place] == ',':
            place -= 1
            while text[place] in _SPACE:
                place -= 1
            if text[place] == '}':
                return place + 1, following
    return 0, 0


def _skip(text: str, place: int) -> int:
    """Return the next place that is no white space."""
    while place < len(text) and text[place] in _SPACE:
        place += 1
    return place
