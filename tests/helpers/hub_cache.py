"""A cache of the Hugging Face Hub in a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

COMMIT = '0123456789abcdef0123456789abcdef01234567'


def fill_cache(cache: Path, **files: Callable[[Path], object]) -> None:
    """Lay out the cache of a repository owner/name at the revision main.

    Args:
        cache (Path): Folder of the cache.
        **files: By the name of a file in the folder sub, a function that writes it to a path.
    """
    folder = cache / 'models--owner--name'
    (folder / 'refs').mkdir(parents=True)
    (folder / 'refs/main').write_text(COMMIT)
    (folder / 'blobs').mkdir()
    (folder / 'snapshots' / COMMIT / 'sub').mkdir(parents=True)
    for number, (name, write) in enumerate(files.items()):
        written = folder / name
        write(written)
        written.rename(folder / 'blobs' / str(number))
        (folder / 'snapshots' / COMMIT / 'sub' / name).symlink_to(f'../../../blobs/{number}')
