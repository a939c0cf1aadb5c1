"""Image files in folders."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

from ..datasets.images import IMAGE_SUFFIXES
from ..engine import UsageError


def find_images(source: str | Path, limit: int, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> list[Path]:
    """Return the image files of a folder and its subfolders, sorted by path.

    Args:
        source (str | Path): Folder, or a single file, which is returned as it is.
        limit (int): Maximum number of files.
        suffixes (Sequence[str]): Ends of the names, in lower case; '' matches any name.

    Raises:
        UsageError: ``source`` does not exist, or is a folder without images.
    """
    source = Path(source)
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise UsageError(f'There is no folder or image {source}.')
    found = sorted(
        path for path in source.rglob('*') if path.name.lower().endswith(tuple(suffixes)) and not path.is_dir()
    )
    if not found:
        raise UsageError(f'{source} holds no images ({", ".join(IMAGE_SUFFIXES)}).')
    return found[:limit]
