"""Writing pictures, complete or not at all."""
from __future__ import annotations

from pathlib import Path

import numpy as np

from ..checkpoints.storage import write_whole
from ..engine import UsageError


def save_picture(picture: np.ndarray, path: Path) -> Path:
    """Write an RGB picture in the format that the name of the file says; folders are made.

    Raises:
        UsageError: There is no such format.
    """
    import cv2
    try:
        done, content = cv2.imencode(path.suffix, picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    except cv2.error:
        done = False
    if not done:
        raise UsageError(f'Pictures cannot be written as {path.suffix or "files without a suffix"}: {path}')
    write_whole(path, content.tobytes())
    return path
