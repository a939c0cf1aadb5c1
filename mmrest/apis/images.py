"""Images in files and folders."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

from ..datasets.images import IMAGE_SUFFIXES
from ..engine import UsageError


def find_images(source: str | Path, most: int, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> list[Path]:
    """Return the images in a folder, by name, or a single one.

    Args:
        source (str | Path): Folder (searched with the folders in it) or file.
        most (int): The first that many.
        suffixes (Sequence[str]): Ends of their names, in lower case; '' is any.

    Raises:
        UsageError: There is none.
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
    return found[:most]
