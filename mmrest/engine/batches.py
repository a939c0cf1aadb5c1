"""Check of image sizes in batches without padding."""

from __future__ import annotations

from typing import Any, Callable, Sequence

from mmengine.runner import Runner
from torch.utils.data import DataLoader

from ..checkpoints.loading import inner_model
from ..datasets.validation import DataError

# Images of a validation or test set to check before the run, which would otherwise fail after the first epoch.
NUM_CHECKED = 8
ADVICE = 'bring them to one size in its pipeline (a Resize with keep_ratio=False, RandomCrop or Pad)'


class SameSizeCollate:
    """Collate function that requires images of the same size.

    Args:
        collate (Callable): Collate function to wrap.
        min_size (tuple[int, int]): Height and width in px that the preprocessor pads smaller images to.
        advice (str): Last sentence of the error message.
    """

    def __init__(self, collate: Callable, min_size: tuple[int, int], advice: str) -> None:
        self.collate = collate
        self.min_size = min_size
        self.advice = advice

    def __call__(self, samples: Sequence[Any]) -> Any:
        """Collate samples.

        Raises:
            DataError: Images differ in size; the message names two of them.
        """
        self.check(samples)
        return self.collate(samples)

    def check(self, samples: Sequence[Any]) -> None:
        """Compare the image sizes of samples; samples of custom datasets without images pass."""
        found = {}
        for sample in samples:
            images = sample.get('inputs') if isinstance(sample, dict) else None
            images = images if isinstance(images, list) else [images]  # a list with test-time augmentation
            if all(getattr(image, 'ndim', 0) == 3 for image in images):
                size = tuple(max(side, minimum) for side, minimum in zip(images[0].shape[1:], self.min_size))
                found.setdefault(size, (images[0].shape, sample.get('data_samples')))
        if len(found) > 1:
            (shape1, sample1), (shape2, sample2) = list(found.values())[:2]
            raise DataError(
                f'The images of a batch differ in size after the pipeline: {_path(sample1)} has {shape1[2]}x'
                f'{shape1[1]} px, {_path(sample2)} has {shape2[2]}x{shape2[1]}. {self.advice}'
            )


def check_image_sizes(loader: DataLoader, runner: Runner, config: Any) -> None:
    """Make a loader refuse batches of differently sized images if they are not padded.

    This concerns mmseg, whose preprocessor pads in training only, and loaders with ``default_collate``. The first
    images of a validation or test set are checked immediately.

    Args:
        loader (DataLoader): Loader built by the runner; its collate function is replaced.
        runner (Runner): Runner of the loader.
        config (dict): Config of the loader.

    Raises:
        DataError: The first images differ in size, or mmseg's preprocessor has no padding size.
    """
    phase = next((name for name in ('train', 'val', 'test') if config is getattr(runner, f'_{name}_dataloader')), '')
    preprocessor = getattr(inner_model(runner.model), 'data_preprocessor', None)
    if not phase or loader.batch_size == 1 and phase != 'train':
        return
    bases = [base.__name__ for base in type(preprocessor).__mro__]
    min_size, advice = (0, 0), f'Set {phase}_dataloader.batch_size=1, or {ADVICE}.'
    if getattr(loader.collate_fn, 'func', loader.collate_fn).__name__ != 'default_collate':
        if 'SegDataPreProcessor' not in bases:
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
            min_size = tuple(preprocessor.size)
            advice = f'Set data_preprocessor.size_divisor=32 and no size, which pads them, or {ADVICE}.'
    loader.collate_fn = SameSizeCollate(loader.collate_fn, min_size, advice)
    if phase != 'train':
        batch_size, num_images = loader.batch_size or NUM_CHECKED, min(len(loader.dataset), NUM_CHECKED)
        for start in range(0, num_images, batch_size):
            stop = min(start + batch_size, num_images)
            loader.collate_fn.check([loader.dataset[index] for index in range(start, stop)])


def _path(sample: Any) -> Any:
    sample = sample[0] if isinstance(sample, list) else sample
    return sample.metainfo.get('img_path', 'one') if hasattr(sample, 'metainfo') else 'one'
