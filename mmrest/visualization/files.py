"""Files of pictures: what came of painting, and names that do not clash."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..engine import UsageError
from ..utils.fileio import atomic_write


@dataclass
class Painted:
    """Result of painting.

    Attributes:
        files (list[Path]): Pictures that were written.
        skipped (list[str]): For each image that was left out, a sentence that names it and the reason.
        frames (int): Frames of a video that were painted.
    """

    files: list[Path] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    frames: int = 0


def save_picture(picture: np.ndarray, path: Path) -> Path:
    """Write an RGB picture in the format that the name of the file says; folders are made.

    Raises:
        UsageError: There is no such format.
    """
    import cv2

    try:
        done, content = cv2.imencode(path.suffix, picture[..., ::-1])
    except cv2.error:
        done = False
    if not done:
        raise UsageError(f'Pictures cannot be written as {path.suffix or "files without a suffix"}: {path}')
    atomic_write(path, content.tobytes())
    return path


def check_paintable(dataset: Any, option: str) -> None:
    """Refuse to paint a dataset where the libraries' hooks would lose pictures or fail.

    They name pictures by the names of images without their folders, and mmdet's and mmseg's read the files themselves.

    Args:
        dataset: With ``get_data_info``, as all of mmengine's have it; others are left alone.
        option (str): What asks for the pictures.

    Raises:
        UsageError: Pictures would overwrite one another, or the files are in a format of one's own.
    """
    if not hasattr(dataset, 'get_data_info'):
        return
    paths = [str(dataset.get_data_info(index).get('img_path')) for index in range(len(dataset))]
    names = Counter(Path(path).name for path in dict.fromkeys(paths))
    name, count = names.most_common(1)[0] if names else ('', 0)
    if count > 1:
        first, second = [path for path in dict.fromkeys(paths) if Path(path).name == name][:2]
        raise UsageError(
            f'{option}: {count} images are called {name}, such as {first} and {second}. Pictures of a '
            'test go by the name alone and would overwrite one another. Test without it, and paint with '
            'tools/demo.py, which keeps the folders.'
        )
    if paths and Path(paths[0]).is_file() and not type(dataset).__module__.startswith('mmpretrain'):
        import mmcv

        if mmcv.imfrombytes(Path(paths[0]).read_bytes()) is None:
            raise UsageError(
                f'{option}: {paths[0]} is painted by a hook that cannot read it; only the pipeline can. '
                'Test without it, and paint with tools/demo.py, which reads as the pipeline does.'
            )
