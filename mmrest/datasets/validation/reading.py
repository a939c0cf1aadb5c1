"""Reading of large JSON files, with progress display and a memory check."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...utils.progress import Progress, no_progress
from .report import DataError

_MEMORY_PER_BYTE = 4  # memory of parsed annotations, relative to the file size
_CHUNK_SIZE = 4_000_000  # characters to parse between progress updates
_SPACE = ' \t\n\r'


def read_json(path: str | Path, progress: Progress = no_progress) -> Any:
    """Read a JSON file.

    Args:
        path (str | Path): Local file.
        progress (callable): Progress display, see :mod:`mmrest.utils.progress`.

    Raises:
        DataError: The file is missing, not valid JSON, nested too deeply, or too large for the memory.
    """
    path = Path(path)
    check_size(path)
    try:
        with progress(f'reading {path.name}', path.stat().st_size, 'MB') as advance, path.open('rb') as file:
            chunks = []
            while chunk := file.read(4 * _CHUNK_SIZE):
                chunks.append(chunk)
                advance(len(chunk))
            text = b''.join(chunks).decode('utf-8')
            del chunks
        with progress(f'parsing {path.name}', len(text), 'MB') as advance, disable_gc():
            return parse_json(text, advance)
    except (ValueError, RecursionError) as error:
        raise DataError(f'{path} is not a valid JSON file: {error or type(error).__name__}.') from error


def check_size(path: str | Path) -> None:
    """Check that a JSON file exists and that its content fits into memory.

    Raises:
        DataError: The file cannot be read or is too large.
    """
    try:
        size = Path(path).stat().st_size
    except OSError as error:
        raise DataError(f'{path} cannot be read: {error.strerror}.') from error
    free = _free_memory()
    if free is not None and size * _MEMORY_PER_BYTE > free:
        raise DataError(
            f'{path} has {size / 1e9:.1f} GB, and its content would not fit into {free / 1e9:.1f} GB '
            'of free memory. Split the file, or use a machine with more memory.'
        )


def _free_memory() -> int | None:
    """Return the available memory in bytes; None if unknown (not on Linux)."""
    try:
        with open('/proc/meminfo') as file:
            line = next(line for line in file if line.startswith('MemAvailable:'))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration, ValueError):
        return None


@contextmanager
def disable_gc() -> Iterator[None]:
    """Disable the garbage collector, which is slow while millions of objects are created."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def parse_json(text: str, advance: Callable[[int], None], chunk_size: int = _CHUNK_SIZE) -> Any:
    """Parse JSON; long lists of objects in a top-level object are parsed in chunks.

    Args:
        text (str): JSON.
        advance (callable): Called with the number of characters parsed since the last call.
        chunk_size (int): Number of characters to parse at a time.

    Raises:
        ValueError: The text is not valid JSON.
    """
    try:
        return _parse_object(text, advance, chunk_size)
    except (ValueError, IndexError):
        return json.loads(text)  # not an object, or invalid: raises with a message


def _parse_object(text: str, advance: Callable[[int], None], chunk_size: int) -> dict:
    decode = json.JSONDecoder().raw_decode
    content: dict[str, Any] = {}
    pos = _skip_space(text, 0)
    separator = '{'
    while text[pos] == separator:
        separator = ','
        start, pos = pos, _skip_space(text, pos + 1)
        if text[pos] == '}' and not content:
            break
        key, pos = decode(text, pos)
        pos = _skip_space(text, pos)
        if not isinstance(key, str) or text[pos] != ':':
            raise ValueError
        pos = _skip_space(text, pos + 1)
        if text[pos] == '[':
            advance(pos - start)
            start = pos
            items, pos = _parse_items(text, pos + 1, advance, chunk_size)
            if items:
                rest, length = decode('[' + text[pos:], 0)
                content[key] = items + rest
                advance(length)
                pos = _skip_space(text, pos + length - 1)
                continue
            pos = start
        content[key], pos = decode(text, pos)
        pos = _skip_space(text, pos)
        advance(pos - start)
    if text[pos] != '}' or _skip_space(text, pos + 1) != len(text):
        raise ValueError
    return content


def _parse_items(text: str, pos: int, advance: Callable[[int], None], chunk_size: int) -> tuple[list, int]:
    """Parse the objects of a list in chunks; return them and the position of the first object not parsed.

    Stops at a chunk that is not valid JSON because it ends inside an object or after the end of the list.
    """
    items: list[Any] = []
    while pos + chunk_size < len(text):
        end, next_pos = _find_cut(text, pos, pos + chunk_size)
        try:
            new = json.loads(f'[{text[pos:end]}]') if end else None
        except ValueError:
            break
        if not new:
            break
        items += new
        advance(next_pos - pos)
        pos = next_pos
    return items, pos


def _find_cut(text: str, start: int, end: int) -> tuple[int, int]:
    """Find the last boundary ``}, {`` in a range; return the positions after and before it, or zeros."""
    next_pos = end
    for _ in range(1000):
        next_pos = text.rfind('{', start + 1, next_pos)
        if next_pos < 0:
            break
        pos = next_pos - 1
        while text[pos] in _SPACE:
            pos -= 1
        if text[pos] == ',':
            pos -= 1
            while text[pos] in _SPACE:
                pos -= 1
            if text[pos] == '}':
                return pos + 1, next_pos
    return 0, 0


def _skip_space(text: str, pos: int) -> int:
    """Return the next position that is not white space."""
    while pos < len(text) and text[pos] in _SPACE:
        pos += 1
    return pos
