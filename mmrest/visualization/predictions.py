"""Predictions of a model painted on an image, on the images of a folder, or on a video.

The inferencers of mmdet, mmseg and mmpretrain stop at the first image that cannot be read, do not search subfolders,
name pictures without their folder so that they overwrite each other, take no videos, and differ in their interfaces.
"""

from __future__ import annotations

import errno
import math
import sys
import tempfile
from pathlib import Path
from typing import Any, Callable, Iterator

import numpy as np
import torch

from ..apis import LoadedModel, find_images
from ..datasets.images import IMAGE_SUFFIXES
from ..engine import UsageError
from ..utils.fileio import NO_SPACE, atomic_path
from ..utils.progress import show_progress, track
from .files import PaintResult, save_picture
from .samples import draw_sample, find_highest_score

VIDEO_SUFFIXES = ('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.webm', '.wmv')
# Number of undecodable frames in a row after which the video counts as truncated.
MAX_FAILURES = 100
# Errors of writing that the next pictures would meet as well.
LASTING = (*NO_SPACE, errno.EACCES, errno.EPERM, errno.EROFS)


def paint_predictions(
    loaded: LoadedModel, source: str | Path, out_dir: str | Path, score_thr: float = 0.3
) -> PaintResult:
    """Run a model on images or a video, and paint its predictions.

    Pictures keep the names of the images and their paths in a folder, so that none overwrites another. A video becomes
    an ``.mp4`` file of the same name.

    Args:
        loaded (LoadedModel): The model.
        source (str | Path): Image, folder (searched with its subfolders), or video.
        out_dir (str | Path): Folder for the pictures.
        score_thr (float): Instances below this score are not painted.

    Returns:
        PaintResult: Written files, and the reasons for skipped images.

    Raises:
        UsageError: Nothing at ``source`` can be read, or the result would overwrite it.
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
            f'{out_dir} lies in {source} and holds images, which may be inputs or results: choose another --out-dir.'
        )
    result = PaintResult()
    for path in track(images, f'Painting {len(images)} image{"s" * (len(images) != 1)}'):
        name = path.relative_to(root)
        target = out_dir / (name if path.suffix.lower() in IMAGE_SUFFIXES else f'{name}.png')
        try:
            result.files.append(save_picture(_paint(loaded, path, path, score_thr, result.scores), target))
        except Exception as error:  # one image that a transform or the model cannot handle does not stop the others
            if isinstance(error, OSError) and error.errno in LASTING:
                raise
            result.skipped.append(_reason(path, error))
    if not result.files:
        first = result.skipped[0]
        raise UsageError(
            first if source.is_file() else f'None of the {len(images)} images in {source} can be painted. {first}'
        )
    return result


def _suffixes(loaded: LoadedModel) -> tuple[str, ...]:
    """Return the suffixes of the images that a pipeline reads: any, if its first transform is not mmcv's loader."""
    first = next(iter(getattr(loaded.pipeline, 'transforms', [])), None)
    return IMAGE_SUFFIXES if type(first).__name__ == 'LoadImageFromFile' else ('',)


def _paint(loaded: LoadedModel, path: Path, name: Any, score_thr: float, scores: list[float]) -> np.ndarray:
    """Return an image with its predictions, (H, W, 3) uint8 in RGB, and append its highest score to ``scores``.

    In messages, ``name`` stands for the image.
    """
    prepared, image = loaded.prepare_with_image(path)
    with torch.no_grad():
        sample = loaded.model(**prepared, mode='predict')[0]
    try:
        picture = draw_sample(image, sample, loaded.class_names, loaded.palette, score_thr=score_thr)
    except ValueError as error:
        raise UsageError(f'The predictions of {loaded.name} for {name} cannot be painted: {error}.') from error
    highest = find_highest_score(sample)
    if highest is not None:
        scores.append(highest)
    return picture


def _reason(name: Any, error: Exception) -> str:
    return str(error) if isinstance(error, UsageError) else f'{name} cannot be painted: {type(error).__name__}: {error}'


def _paint_video(loaded: LoadedModel, source: Path, out: Path, score_thr: float) -> PaintResult:
    import cv2

    if out.exists() and out.samefile(source):
        raise UsageError(f'The painted video would overwrite {source}: choose another --out-dir.')
    capture = cv2.VideoCapture(str(source))
    try:
        if not capture.isOpened():
            raise UsageError(f'{source} cannot be read as a video.')
        fps = capture.get(cv2.CAP_PROP_FPS)
        fps = fps if math.isfinite(fps) and 0 < fps < 1000 else 25.0
        total = max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)  # 0 where the file does not say
        bad: list[str] = []
        scores: list[float] = []
        with atomic_path(out) as partial, show_progress(f'Painting {source}', total, 'frames') as advance:
            pictures = _paint_frames(loaded, source, _frames(capture, total), score_thr, advance, bad, scores)
            frames = _write_video(pictures, partial, fps)
            if not frames:
                raise UsageError(bad[0] if bad else f'{source} cannot be read as a video.')
    finally:
        capture.release()
    skipped = [f'{len(bad)} of {total} frames. {bad[0]}'] if bad else []
    return PaintResult([out], skipped, frames, scores)


def _paint_frames(
    loaded: LoadedModel,
    source: Path,
    frames: Iterator[np.ndarray | None],
    score_thr: float,
    advance: Callable[[int], None],
    bad: list[str],
    scores: list[float],
) -> Iterator[np.ndarray]:
    """Yield painted frames, and append the reasons for skipped ones to ``bad``, and scores to ``scores``."""
    for number, frame in enumerate(frames):
        advance(1)
        name = f'Frame {number} of {source}'
        try:
            if frame is None:
                raise UsageError(f'{name} cannot be decoded.')
            picture = paint_frame(loaded, frame, name, score_thr, scores)
        except Exception as error:
            bad.append(_reason(name, error))
        else:
            yield picture


def _write_video(pictures: Iterator[np.ndarray], path: Path, fps: float) -> int:
    """Write pictures (H, W, 3) uint8 in RGB to an mp4 file, and return their number.

    Raises:
        UsageError: OpenCV cannot encode them.
    """
    import cv2

    writer, written = None, 0
    try:
        for picture in pictures:
            if writer is None:
                size = (picture.shape[1], picture.shape[0])
                writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), fps, size)
                if not writer.isOpened():
                    raise UsageError(f'OpenCV cannot encode mp4 videos of {size[0]} x {size[1]} here.')
            writer.write(np.ascontiguousarray(picture[..., ::-1]))
            written += 1
    finally:
        if writer is not None:
            writer.release()
    return written


def _frames(capture: Any, total: int) -> Iterator[np.ndarray | None]:
    """Yield the frames of a video, (H, W, 3) uint8 in BGR, and None for one that cannot be decoded."""
    number, failures = 0, 0
    while failures < MAX_FAILURES:
        readable, frame = capture.read()
        if not readable and number >= total:
            return
        yield frame if readable else None
        number, failures = number + 1, 0 if readable else failures + 1


def paint_frame(loaded: LoadedModel, frame: np.ndarray, name: str, score_thr: float, scores: list[float]) -> np.ndarray:
    """Return a frame of a video with its predictions.

    The frame passes through a temporary file, so that the pipeline reads it with its own loader and settings, e.g. in
    gray or as floats.

    Args:
        loaded (LoadedModel): The model.
        frame (np.ndarray): (H, W, 3) uint8 in BGR.
        name (str): Name of the frame in messages.
        score_thr (float): Instances below this score are not painted.
        scores (list[float]): The highest score of an instance is appended; nothing by models that find none.

    Returns:
        np.ndarray: (H, W, 3) uint8 in RGB.

    Raises:
        UsageError: The pipeline cannot read the frame, or the predictions cannot be painted.
    """
    import cv2

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'frame.bmp'  # not compressed, for speed
        cv2.imwrite(str(path), frame)
        return _paint(loaded, path, name, score_thr, scores)
