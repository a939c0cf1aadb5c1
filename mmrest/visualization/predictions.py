"""Painting what a model finds on an image, a folder of them, or a video.

The inferencers of mmdet, mmseg and mmpretrain are not used: they stop at the first bad image, write pictures of one
name over each other, take no videos, and each has another interface.
"""

from __future__ import annotations

import errno
import math
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Iterator

import numpy as np
import torch
from mmengine.utils import ProgressBar

from ..apis import LoadedModel, find_images
from ..datasets.images import IMAGE_SUFFIXES
from ..engine import UsageError
from ..utils.fileio import NO_SPACE
from ..utils.progress import track
from .files import Painted, save_picture
from .samples import draw_sample

VIDEO_SUFFIXES = ('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.webm', '.wmv')
# Frames in a row; what follows is taken to be missing, as in a file that was cut off.
MAX_FAILURES = 100
# Errors of writing that every further picture would meet as well.
LASTING = (*NO_SPACE, errno.EACCES, errno.EPERM, errno.EROFS)


def paint_predictions(loaded: LoadedModel, source: str | Path, out_dir: str | Path, score_thr: float = 0.3) -> Painted:
    """Run a model on images or a video and paint what it finds.

    Pictures keep the names of the images and, in a folder, where they lie in it; so none overwrites another.
    A video becomes an ``.mp4`` of the same name.

    Args:
        loaded (LoadedModel): The model.
        source (str | Path): Image, folder (searched with the folders in it), or video.
        out_dir (str | Path): Where the pictures go.
        score_thr (float): Instances below this score are not painted.

    Raises:
        UsageError: There is nothing at ``source`` that can be read, or the result would overwrite it.
    """
    source, out_dir = Path(source), Path(out_dir)
    if source.is_file() and source.suffix.lower() in VIDEO_SUFFIXES:
        return _paint_video(loaded, source, out_dir / f'{source.stem}.mp4', score_thr)
    suffixes = _suffixes(loaded)
    if source.is_file() and not source.name.lower().endswith(suffixes):
        raise UsageError(
            f'{source} is neither an image ({", ".join(IMAGE_SUFFIXES)}) nor a video ({", ".join(VIDEO_SUFFIXES)}).'
        )
    root = source if source.is_dir() else source.parent
    if out_dir.resolve() == root.resolve():
        raise UsageError(f'The pictures would overwrite the images in {root}: choose another --out-dir.')
    images = find_images(source, sys.maxsize, suffixes)
    if any(out_dir.resolve() in path.resolve().parents for path in images):
        raise UsageError(
            f'{out_dir} lies in {source} and holds images, which may be to be painted or painted already: '
            'choose another --out-dir.'
        )
    painted = Painted()
    for path in track(images, f'Painting {len(images)} image{"s" * (len(images) != 1)}'):
        name = path.relative_to(root)
        target = out_dir / (name if path.suffix.lower() in IMAGE_SUFFIXES else f'{name}.png')
        try:
            painted.files.append(save_picture(_paint(loaded, path, path, score_thr), target))
        except Exception as error:  # whatever one image does to a transform or a model, the others are painted
            if isinstance(error, OSError) and error.errno in LASTING:
                raise
            painted.skipped.append(_reason(path, error))
    if not painted.files:
        first = painted.skipped[0]
        raise UsageError(
            first if source.is_file() else f'None of the {len(images)} images in {source} can be painted. {first}'
        )
    return painted


def _suffixes(loaded: LoadedModel) -> tuple[str, ...]:
    """Return the ends of names of the images that a pipeline reads: any, if its loader is not the usual one."""
    first = next(iter(getattr(loaded.pipeline, 'transforms', [])), None)
    return IMAGE_SUFFIXES if type(first).__name__ == 'LoadImageFromFile' else ('',)


def _paint(loaded: LoadedModel, path: Path, name: Any, score_thr: float) -> np.ndarray:
    """Return a painted image; errors call it by a name of its own."""
    prepared, image = loaded.open(path)
    with torch.no_grad():
        sample = loaded.model(**prepared, mode='predict')[0]
    try:
        return draw_sample(image, sample, loaded.class_names, loaded.palette, score_thr=score_thr)
    except ValueError as error:
        raise UsageError(f'The predictions of {loaded.name} for {name} cannot be painted: {error}.') from error


def _reason(name: Any, error: Exception) -> str:
    return str(error) if isinstance(error, UsageError) else f'{name} cannot be painted: {type(error).__name__}: {error}'


def _paint_video(loaded: LoadedModel, source: Path, out: Path, score_thr: float) -> Painted:
    import cv2

    if out.exists() and out.samefile(source):
        raise UsageError(f'The painted video would overwrite {source}: choose another --out-dir.')
    capture = cv2.VideoCapture(str(source))
    unfinished = out.with_name(f'.unfinished-{os.getpid()}-{out.name}')
    writer, painted, bad = None, Painted([out]), {}
    try:
        if not capture.isOpened():
            raise UsageError(f'{source} cannot be read as a video.')
        fps = capture.get(cv2.CAP_PROP_FPS)
        fps = fps if math.isfinite(fps) and 0 < fps < 1000 else 25.0
        out.parent.mkdir(parents=True, exist_ok=True)
        print(f'Painting {source}:', flush=True)
        total = max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)  # 0: the file does not say
        bar = ProgressBar(total)
        for number, frame in enumerate(_frames(capture, total)):
            bar.update()
            try:
                if frame is None:
                    raise UsageError(f'Frame {number} of {source} cannot be decoded.')
                picture = paint_frame(loaded, frame, f'Frame {number} of {source}', score_thr)
            except Exception as error:
                bad[number] = _reason(f'Frame {number} of {source}', error)
                continue
            if writer is None:
                size = (picture.shape[1], picture.shape[0])
                writer = cv2.VideoWriter(str(unfinished), cv2.VideoWriter_fourcc(*'mp4v'), fps, size)
                if not writer.isOpened():
                    raise UsageError(
                        f'{out} cannot be written: OpenCV here cannot encode mp4 videos of {size[0]} x {size[1]}.'
                    )
            writer.write(np.ascontiguousarray(picture[..., ::-1]))
            painted.frames += 1
        print(flush=True)
        if writer is None:
            raise UsageError(next(iter(bad.values()), f'{source} cannot be read as a video.'))
        writer.release()
        os.replace(unfinished, out)
        if bad:
            painted.skipped.append(f'{len(bad)} of {total} frames. {next(iter(bad.values()))}')
    finally:
        capture.release()
        if writer is not None:
            writer.release()
        unfinished.unlink(missing_ok=True)
    return painted


def _frames(capture: Any, total: int) -> Iterator[np.ndarray | None]:
    """Yield the frames of a video, None where one cannot be decoded and others may follow."""
    number, failures = 0, 0
    while failures < MAX_FAILURES:
        readable, frame = capture.read()
        if not readable and number >= total:
            return
        yield frame if readable else None
        number, failures = number + 1, 0 if readable else failures + 1


def paint_frame(loaded: LoadedModel, frame: np.ndarray, name: str, score_thr: float) -> np.ndarray:
    """Return a painted frame of a video.

    It goes through a file of its own, so that the pipeline reads it as it reads any image: in gray, in floating point,
    by another decoder.

    Args:
        loaded (LoadedModel): The model.
        frame (np.ndarray): (H, W, 3) uint8 BGR.
        name (str): What errors call it.
        score_thr (float): Instances below this score are not painted.

    Raises:
        UsageError: The pipeline cannot read it.
    """
    import cv2

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'frame.bmp'  # not compressed, which takes no time
        cv2.imwrite(str(path), frame)
        return _paint(loaded, path, name, score_thr)
