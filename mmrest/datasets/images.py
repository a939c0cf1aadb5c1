"""Checks of image files."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

IMAGE_SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')
# Start and end markers of image formats. Some programs append a few bytes to the end marker.
_MARKERS = {b'\xff\xd8': b'\xff\xd9', b'\x89PNG': b'IEND\xaeB`\x82'}
_TAIL_SIZE = 64  # bytes


def find_truncation(path: str | Path) -> str | None:
    """Check an image file for truncation, which most decoders silently fill with gray pixels.

    Only the markers of JPEG and PNG files are read; the image is decoded if the end marker is missing.

    Args:
        path (str | Path): Local file.

    Returns:
        str | None: Description of the problem; None if there is none.

    Raises:
        OSError: The file cannot be read.
    """
    with open(path, 'rb') as file:
        head = file.read(8)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL_SIZE))
        tail = file.read()
    if not size:
        return 'is empty'
    for start, end in _MARKERS.items():
        if head.startswith(start):
            # A file without end marker may still be complete.
            return None if end in tail else _find_decoding_error(path)
    return None


def _find_decoding_error(path: str | Path) -> str | None:
    """Decode an image completely; return the error, or None."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()
            image.getexif()  # contains the orientation
    except Image.DecompressionBombError:  # OpenCV has a higher limit
        return None
    except Exception as error:  # corrupt files may raise anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return f'cannot be decoded ({reason.replace(repr(str(path)), "it")})'
    return None


def find_other_suffixes(dataset: Any) -> list[Path]:
    """Return the images in the folder of a segmentation dataset whose names do not end with its ``img_suffix``.

    Args:
        dataset: Dataset of mmseg. Empty for datasets with an ``ann_file`` or on remote storage.
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
    """Return the bit depth of a PNG file; 8 for other formats."""
    with open(path, 'rb') as file:
        head = file.read(26)
    if len(head) < 26 or not head.startswith(b'\x89PNG'):
        return 8
    return struct.unpack('>IIB', head[16:25])[2]
