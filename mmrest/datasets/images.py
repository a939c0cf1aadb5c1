"""Checks of image files, by their bytes."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

IMAGE_SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')
# A format's first bytes, and those that a whole file of it ends with (but for a little that some programs append).
_ENDS = {b'\xff\xd8': b'\xff\xd9', b'\x89PNG': b'IEND\xaeB`\x82'}
_TAIL = 64


def check_ends(path: str | Path) -> str | None:
    """Look whether an image file was cut off, which decoders take for gray pixels; quick.

    Args:
        path (str | Path): A local file.

    Returns:
        str | None: What is wrong, None if nothing.

    Raises:
        OSError: The file cannot be read.
    """
    with open(path, 'rb') as file:
        head = file.read(8)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL))
        tail = file.read()
    if not size:
        return 'is empty'
    for start, end in _ENDS.items():
        if head.startswith(start):
            # Without the usual end, a file may still hold all that the decoder needs.
            return None if end in tail else _find_decoding_fault(path)
    return None


def _find_decoding_fault(path: str | Path) -> str | None:
    """Decode an image file to its last pixel, and return what is wrong with it, None if nothing."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()
            image.getexif()  # says how it lies; damaged, it counts as damage
    except Image.DecompressionBombError:  # left to OpenCV, which reads larger ones
        return None
    except Exception as error:  # damaged bytes fail in many ways
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return f'cannot be decoded ({reason.replace(repr(str(path)), "it")})'
    return None


def find_other_suffixes(dataset: Any) -> list[Path]:
    """Return the images in the folder of a segmentation dataset that it leaves out for the end of their names.

    Args:
        dataset: One of mmseg's; a list of names in a file of its own, or other storage, leaves out nothing here.
    """
    suffix, ann_file = getattr(dataset, 'img_suffix', None), getattr(dataset, 'ann_file', '')
    folder = (getattr(dataset, 'data_prefix', None) or {}).get('img_path') or ''
    if not suffix or getattr(dataset, 'backend_args', None) or os.path.isfile(ann_file) or not os.path.isdir(folder):
        return []
    return [
        path
        for path in sorted(Path(folder).rglob('*'))
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.endswith(suffix)
    ]


def png_depth(path: str | Path) -> int:
    """Bits of each value in a PNG file; 8 for anything else."""
    with open(path, 'rb') as file:
        head = file.read(26)
    if len(head) < 26 or not head.startswith(b'\x89PNG'):
        return 8
    return struct.unpack('>IIB', head[16:25])[2]
