"""Stop at a NaN or infinite loss before it reaches the weights, and save data for debugging."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.hooks import RemovableHandle

from ...checkpoints.loading import inner_model
from ...utils.errors import MMRestError
from ...utils.fileio import ATOMIC_BACKEND, atomic_write
from ..seeding import SeededBatchSampler

ADVICE = (
    'Common causes: a learning rate that is too high or has no warm-up (lower it, or set optim_wrapper.clip_grad), '
    'float16 (try bfloat16), wrong labels (mmrest check CONFIG).'
)


class InvalidLossError(MMRestError, RuntimeError):
    """A training loss is NaN or infinite."""


class _LossCheck:
    """Forward hook that reports invalid losses of a model to an :class:`InvalidLossHook`.

    It is pickled and copied as a hook without effect, so that a model can be pickled during training.
    """

    def __init__(self, hook: InvalidLossHook, runner: Runner) -> None:
        self.hook, self.runner = hook, runner

    def __call__(self, model: nn.Module, args: tuple, kwargs: dict, losses: Any) -> None:
        if not model.training or kwargs.get('mode') != 'loss':
            return
        total, shown = model.parse_losses(losses)
        # Synchronizes with the device, which mmengine does anyway to log every step.
        if isinstance(total, Tensor) and not torch.isfinite(total).all():
            self.hook._stop(self.runner, shown)

    def __reduce__(self) -> tuple:
        return _NoCheck, ()


class _NoCheck:
    """Forward hook without effect, for copies of a model."""

    def __call__(self, *args: Any) -> None:
        pass


@HOOKS.register_module()
class InvalidLossHook(Hook):
    """Stop training at a NaN or infinite loss, before the optimizer step.

    The loss is checked as the model returns it. Gradients that overflow due to loss scaling in mixed precision are
    handled by the scaler, which skips the step.

    Every process checks its own loss and saves two files ``invalid_loss_iter_<n>`` (with suffix ``_rank<r>`` in
    processes other than the first) in the work dir: a checkpoint with the weights and the optimizer before this step,
    and a JSON file with the losses, the images of the batch and the seeds of their augmentation.

    Raises:
        InvalidLossError: The loss is not finite.
    """

    _check: RemovableHandle | None = None

    def before_train(self, runner: Runner) -> None:
        """Register the check on the model."""
        model = inner_model(runner.model)
        self._batch: Any = None
        self._batch_idx = 0
        self.after_train(runner)  # a previous training may have been interrupted
        if not hasattr(model, 'parse_losses'):
            runner.logger.warning(f'{type(model).__name__} has no parse_losses: its loss is not checked.')
            return
        self._check = model.register_forward_hook(_LossCheck(self, runner), with_kwargs=True)

    def after_train(self, runner: Runner) -> None:
        """Remove the check from the model."""
        if self._check is not None:
            self._check.remove()
            self._check = None

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Keep a reference to the batch."""
        self._batch, self._batch_idx = data_batch, batch_idx

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Release the batch."""
        self._batch = None

    def _stop(self, runner: Runner, losses: dict[str, Tensor]) -> None:
        values = {name: value.tolist() for name, value in losses.items() if isinstance(value, Tensor)}
        invalid = [
            name for name, value in losses.items() if isinstance(value, Tensor) and not torch.isfinite(value).all()
        ]
        paths = _image_paths(self._batch)
        name = f'invalid_loss_iter_{runner.iter + 1}' + (f'_rank{runner.rank}' if runner.rank else '')
        folder = Path(runner.work_dir)
        saved = []
        try:
            checkpoint = self._save(runner, name)
            saved += [checkpoint] if checkpoint else []
            batches = runner.train_dataloader.batch_sampler
            seeds = None
            if isinstance(batches, SeededBatchSampler):
                seeds = batches.sample_seeds(self._batch_idx, len(paths))
            record = dict(
                iteration=runner.iter + 1,
                epoch=runner.epoch + 1,
                rank=runner.rank,
                images=paths,
                seeds=seeds,
                losses={key: str(value) for key, value in values.items()},
                checkpoint=checkpoint,
            )
            atomic_write(folder / f'{name}.json', json.dumps(record, indent=2).encode())
            saved.append(str(folder / f'{name}.json'))
            note = 'Saved the state before this step: ' + ', '.join(saved)
        except OSError as error:  # report the invalid loss even if the disk is full
            note = f'The state could not be saved: {error.filename}: {error.strerror or error}'
        shown = ', '.join(f'{key} = {values[key]}' for key in invalid)
        rank = f', process {runner.rank}' if runner.world_size > 1 else ''
        images = '\n'.join(f'  {path}' for path in paths) or '  (their paths are not in the batch)'
        raise InvalidLossError(
            f'The loss is not finite at iteration {runner.iter + 1} (epoch {runner.epoch + 1}'
            f'{rank}): {shown}.\nImages of this batch:\n{images}\n{note}.\n{ADVICE}'
        )

    @staticmethod
    def _save(runner: Runner, name: str) -> str | None:
        """Save a checkpoint in this process and return its path; None if the weights are sharded."""
        if is_model_wrapper(runner.model) and not isinstance(runner.model, DistributedDataParallel):
            return None
        save = getattr(type(runner).save_checkpoint, '__wrapped__', None)  # without @master_only
        if save is None:
            return None
        save(
            runner,
            runner.work_dir,
            f'{name}.pth',
            meta=dict(epoch=runner.epoch, iter=runner.iter),
            by_epoch=False,
            backend_args=dict(backend=ATOMIC_BACKEND),
        )
        return str(Path(runner.work_dir) / f'{name}.pth')


def _image_paths(batch: Any) -> list[str]:
    """Return the image paths in a batch of nested containers."""
    if isinstance(batch, dict):
        found = [batch['img_path']] if isinstance(batch.get('img_path'), str) else []
        return found + [path for value in batch.values() for path in _image_paths(value)]
    if isinstance(batch, (list, tuple)):
        return [path for value in batch for path in _image_paths(value)]
    path = getattr(batch, 'img_path', None)
    return [path] if isinstance(path, str) else []
