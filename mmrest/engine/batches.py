"""Batches whose images have to be of one size, and a sentence where they are not."""

from __future__ import annotations

from typing import Any, Callable, Sequence

from mmengine.runner import Runner
from torch.utils.data import DataLoader

from ..checkpoints.loading import inner_model
from ..datasets.validation import DataError

# Images of an evaluated dataset that are looked at before the run, which would else stop after its first epoch.
LOOKED_AT = 8
CROP = 'bring them to one size in its pipeline (a Resize with keep_ratio=False, RandomCrop or Pad)'


class OneSize:
    """Collate function that compares the sizes of images before it hands them on.

    Args:
        collate (Callable): Makes a batch of samples.
        least (tuple[int, int]): Height and width that smaller images are padded to later.
        advice (str): What to do where sizes differ.
    """

    def __init__(self, collate: Callable, least: tuple[int, int], advice: str) -> None:
        self.collate = collate
        self.least = least
        self.advice = advice

    def __call__(self, samples: Sequence[Any]) -> Any:
        """Collate samples.

        Raises:
            DataError: Their images differ in size; names two of them.
        """
        self.check(samples)
        return self.collate(samples)

    def check(self, samples: Sequence[Any]) -> None:
        """Compare sizes; what is no image, as of datasets of one's own, is left alone."""
        found = {}
        for sample in samples:
            images = sample.get('inputs') if isinstance(sample, dict) else None
            images = images if isinstance(images, list) else [images]  # of test-time augmentation
            if all(getattr(image, 'ndim', 0) == 3 for image in images):
                size = tuple(max(side, least) for side, least in zip(images[0].shape[1:], self.least))
                found.setdefault(size, (images[0].shape, sample.get('data_samples')))
        if len(found) > 1:
            (first, one), (second, other) = list(found.values())[:2]
            raise DataError(
                f'The images of a batch differ in size after the pipeline: {_path(one)} has {first[2]}x'
                f'{first[1]} px, {_path(other)} has {second[2]}x{second[1]}. {self.advice}'
            )


def require_one_size(loader: DataLoader, runner: Runner, config: Any) -> None:
    """Let a loader refuse images of different sizes where nothing pads them.

    These are mmseg's, whose preprocessor pads in training alone, and those of loaders with ``default_collate``. The
    first images of an evaluated dataset are looked at right away.

    Args:
        loader (DataLoader): Built by the runner; changed in place.
        runner (Runner): Its owner.
        config (dict): That it was built from.

    Raises:
        DataError: The first images differ in size, or mmseg's preprocessor is not told how to pad.
    """
    phase = next((name for name in ('train', 'val', 'test') if config is getattr(runner, f'_{name}_dataloader')), '')
    preprocessor = getattr(inner_model(runner.model), 'data_preprocessor', None)
    if not phase or loader.batch_size == 1 and phase != 'train':
        return
    kinds = [parent.__name__ for parent in type(preprocessor).__mro__]
    least, advice = (0, 0), f'Set {phase}_dataloader.batch_size=1, or {CROP}.'
    if getattr(loader.collate_fn, 'func', loader.collate_fn).__name__ != 'default_collate':
        if 'SegDataPreProcessor' not in kinds:
            return
        if phase == 'train':
            if (preprocessor.size is None) == (preprocessor.size_divisor is None):
                raise DataError(
                    "Set either data_preprocessor.size, such as the pipeline's crop_size, or "
                    f'data_preprocessor.size_divisor for training: they are {preprocessor.size} and '
                    f'{preprocessor.size_divisor}.'
                )
            if preprocessor.size is None:  # images are padded to the largest of their batch
                return
            least = tuple(preprocessor.size)
            advice = f'Set data_preprocessor.size_divisor=32 and no size, which pads them, or {CROP}.'
    loader.collate_fn = OneSize(loader.collate_fn, least, advice)
    if phase != 'train':
        size = loader.batch_size or LOOKED_AT
        for start in range(0, min(len(loader.dataset), LOOKED_AT), size):
            stop = min(start + size, LOOKED_AT, len(loader.dataset))
            loader.collate_fn.check([loader.dataset[index] for index in range(start, stop)])


def _path(sample: Any) -> Any:
    sample = sample[0] if isinstance(sample, list) else sample
    return sample.metainfo.get('img_path', 'one') if hasattr(sample, 'metainfo') else 'one'
