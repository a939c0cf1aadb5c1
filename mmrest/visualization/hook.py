"""Hook that shows predictions on validation images in TensorBoard.

The visualization hooks of mmdet and mmseg choose images by the iteration of training, so that every validation shows
other images; this one shows the same images every time, for all three libraries.
"""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..engine.config import TENSORBOARD
from .samples import draw_sample, read_image


class PaintValidationHook(Hook):
    """Add images with predictions to TensorBoard at every validation.

    The images are evenly spaced over the dataset and the same every time, so that the step slider of TensorBoard shows
    the progress on each of them.

    Args:
        num_images (int): Maximum number of images; each is the first one of its batch.
        score_thr (float): Instances below this score are not painted.
    """

    def __init__(self, num_images: int = 4, score_thr: float = 0.3) -> None:
        self.num_images = num_images
        self.score_thr = score_thr

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Sequence[Any] | None = None
    ) -> None:
        """Paint the first image of the chosen batches."""
        batches = len(runner.val_dataloader)
        chosen = np.unique(np.linspace(0, batches - 1, min(self.num_images, batches)).round().astype(int))
        backend = runner.visualizer.get_backend(TENSORBOARD)
        if batch_idx not in chosen or not outputs or backend is None or runner.rank != 0:
            return
        sample, metainfo = outputs[0], runner.val_dataloader.dataset.metainfo
        picture = draw_sample(
            read_image(sample, data_batch['inputs'][0] if data_batch else None),
            sample,
            metainfo.get('classes') or (),
            metainfo.get('palette'),
            score_thr=self.score_thr,
        )
        number = chosen.tolist().index(batch_idx) + 1
        backend.add_image(f'val/image_{number}', picture, step=runner.iter)
