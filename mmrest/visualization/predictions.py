"""Painting what a model finds on an image, a folder of them, or a video."""
from __future__ import annotations

import math
import os
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.utils import ProgressBar

from ..analysis.subject import Subject, find_images, with_progress
from ..datasets.images import IMAGE_SUFFIXES
from ..engine import UsageError
from .files import save_picture
from .samples import draw_sample

VIDEO_SUFFIXES = ('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.webm', '.wmv')


@dataclass
class Painted:
    """What came of it.

    Attributes:
        files (list[Path]): What was written.
        skipped (dict[Path, str]): Images of a folder that were left out, with the reason.
        frames (int): Frames of a video that were painted.
    """
    files: list[Path] = field(default_factory=list)
    skipped: dict[Path, str] = field(default_factory=dict)
    frames: int = 0


def paint_predictions(subject: Subject, source: str | Path, out_dir: str | Path, score_thr: float = 0.3) -> Painted:
    """Run a model on images or a video and paint what it finds.

    Pictures keep the names of the images and, in a folder, where they lie in it; so none overwrites another.
    A video becomes an ``.mp4`` of the same name.

    Args:
        subject (Subject): The model.
        source (str | Path): Image, folder (searched with the folders in it), or video.
        out_dir (str | Path): Where the pictures go.
        score_thr (float): Instances below this score are not painted.

    Raises:
        UsageError: There is nothing at ``source`` that can be read, or the result would overwrite it.
    """
    source, out_dir = Path(source), Path(out_dir)
    if source.is_file() and source.suffix.lower() in VIDEO_SUFFIXES:
        return _paint_video(subject, source, out_dir / f'{source.stem}.mp4', score_thr)
    if source.is_file() and source.suffix.lower() not in IMAGE_SUFFIXES:
        raise UsageError(f'{source} is neither an image ({", ".join(IMAGE_SUFFIXES)}) nor a video '
                         f'({", ".join(VIDEO_SUFFIXES)}).')
    root = source if source.is_dir() else source.parent
    if out_dir.resolve() == root.resolve():
        raise UsageError(f'The pictures would overwrite the images in {root}: choose another --out-dir.')
    images = find_images(source, sys.maxsize)
    if any(out_dir.resolve() in path.resolve().parents for path in images):
        raise UsageError(f'{out_dir} lies in {source} and holds images, which may be to be painted or painted already: '
                         'choose another --out-dir.')
    painted = Painted()
    for path in with_progress(images, f'Painting {len(images)} image{"s" * (len(images) != 1)}'):
        try:
            picture = _paint(subject, subject.prepare(path), _read(path), score_thr)
        except Exception as error:  # whatever one image does to a transform or a model, the others are painted
            reason = str(error) if isinstance(error, UsageError) else \
                f'{path} cannot be painted: {type(error).__name__}: {error}'
            if source.is_file():
                raise UsageError(reason) from error
            painted.skipped[path] = reason
            continue
        painted.files.append(save_picture(picture, out_dir / path.relative_to(root)))
    if not painted.files:
        first = next(iter(painted.skipped.values()))
        raise UsageError(f'None of the {len(images)} images in {source} can be painted. {first}')
    return painted


def _paint(subject: Subject, prepared: dict[str, Any], image: np.ndarray, score_thr: float) -> np.ndarray:
    with torch.no_grad():
        sample = subject.model(**prepared, mode='predict')[0]
    try:
        return draw_sample(image, sample, subject.class_names, subject.palette, score_thr=score_thr)
    except ValueError as error:
        raise UsageError(f'The predictions of {subject.name} cannot be painted: {error}.') from error


def _read(path: Path) -> np.ndarray:
    import mmcv
    return mmcv.imread(str(path))  # BGR, turned as EXIF says, as the pipelines of all three libraries read it


def _paint_video(subject: Subject, source: Path, out: Path, score_thr: float) -> Painted:
    import cv2
    if out.exists() and out.samefile(source):
        raise UsageError(f'The painted video would overwrite {source}: choose another --out-dir.')
    capture = cv2.VideoCapture(str(source))
    unfinished = out.with_name(f'.unfinished-{os.getpid()}-{out.name}')
    writer, frames = None, 0
    try:
        readable, frame = capture.read()
        if not readable:
            raise UsageError(f'{source} cannot be read as a video.')
        fps = capture.get(cv2.CAP_PROP_FPS)
        fps = fps if math.isfinite(fps) and 0 < fps < 1000 else 25.0
        out.parent.mkdir(parents=True, exist_ok=True)
        print(f'Painting {source}:', flush=True)
        bar = ProgressBar(max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0))  # 0: the file does not say
        while readable:
            picture = _paint(subject, prepare_frame(subject, frame, frames), frame, score_thr)
            if writer is None:
                size = (picture.shape[1], picture.shape[0])
                writer = cv2.VideoWriter(str(unfinished), cv2.VideoWriter_fourcc(*'mp4v'), fps, size)
                if not writer.isOpened():
                    raise UsageError(f'{out} cannot be written: OpenCV here cannot encode mp4 videos of '
                                     f'{size[0]} x {size[1]}.')
            writer.write(np.ascontiguousarray(picture[..., ::-1]))
            frames += 1
            bar.update()
            readable, frame = capture.read()
        print(flush=True)
        writer.release()
        os.replace(unfinished, out)
    finally:
        capture.release()
        if writer is not None:
            writer.release()
        unfinished.unlink(missing_ok=True)
    return Painted([out], frames=frames)


def prepare_frame(subject: Subject, frame: np.ndarray, index: int = 0) -> dict[str, Any]:
    """Return what :meth:`Subject.prepare` makes of an image file, for an image in memory.

    The frame goes through a file of its own, so that the pipeline reads it as it reads any image: in gray, in floating
    point, by another decoder.

    Args:
        subject (Subject): The model.
        frame (np.ndarray): (H, W, 3) uint8 BGR.
        index (int): Number to go by.

    Raises:
        UsageError: The pipeline cannot read it.
    """
    import cv2
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f'frame_{index}.bmp'  # not compressed, which takes no time
        cv2.imwrite(str(path), frame)
        return subject.prepare(path)
