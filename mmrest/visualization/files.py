"""Picture files, and checks that the pictures of a test do not overwrite each other."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..engine import UsageError
from ..utils.fileio import atomic_write


@dataclass
class PaintResult:
    """Files written by a command that paints images.

    Attributes:
        files (list[Path]): Written pictures or videos.
        skipped (list[str]): A sentence for each skipped image, with the reason.
        frames (int): Number of painted frames of a video.
        scores (list[float]): Highest score in each picture of a model that finds instances; 0 without any.
    """

    files: list[Path] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    frames: int = 0
    scores: list[float] = field(default_factory=list)

    def describe_scores(self, score_thr: float) -> str:
        """Return why no picture shows an instance; '' if one does, or in segmentation and classification.

        Args:
            score_thr (float): Score from which instances are painted.
        """
        highest = max(self.scores, default=score_thr)
        if highest >= score_thr:
            return ''
        if not highest:
            return 'The model finds no object at all.'
        advice = f'try --score-thr {highest / 2:.1g}'
        return f'No object has a score of {score_thr:g} or more; the highest is {highest:.3g}: {advice}'


def save_picture(picture: np.ndarray, path: Path) -> Path:
    """Write a picture atomically.

    Args:
        picture (np.ndarray): (H, W, 3) uint8 in RGB.
        path (Path): File to write, in the format of its suffix; its folder is made if need be.

    Raises:
        UsageError: There is no such image format.
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
    """Check that the visualization hooks of mmdet, mmseg and mmpretrain can paint a dataset.

    They name pictures by the image without its folder, and those of mmdet and mmseg read the file themselves.

    Args:
        dataset (BaseDataset): Dataset of the test; datasets without ``get_data_info`` are not checked.
        option (str): Option of the command line that asks for the pictures, for messages.

    Raises:
        UsageError: Pictures would overwrite each other, or the hook cannot read the files.
    """
    if not hasattr(dataset, 'get_data_info'):
        return
    paths = [str(dataset.get_data_info(index).get('img_path')) for index in range(len(dataset))]
    names = Counter(Path(path).name for path in dict.fromkeys(paths))
    name, count = names.most_common(1)[0] if names else ('', 0)
    if count > 1:
        first, second = [path for path in dict.fromkeys(paths) if Path(path).name == name][:2]
        raise UsageError(
            f'{option}: {count} images are called {name}, such as {first} and {second}. The pictures '
            'are named without folders and would overwrite each other. Leave the option out, and paint with '
            'mmrest predict, which keeps the folders.'
        )
    if paths and Path(paths[0]).is_file() and not type(dataset).__module__.startswith('mmpretrain'):
        import mmcv

        if mmcv.imfrombytes(Path(paths[0]).read_bytes()) is None:
            raise UsageError(
                f'{option}: {paths[0]} is painted by a hook that cannot read it; only the pipeline can. '
                'Leave the option out, and paint with mmrest predict, which uses the pipeline.'
            )
