"""Stopping at a loss that is not finite, before it spoils the weights, with what is needed to look into it."""

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
    'Usual causes: a learning rate that is too high, or is not warmed up (a lower one, optim_wrapper.clip_grad), '
    'float16 (try bfloat16), labels that are wrong (tools/check_dataset.py).'
)


class InvalidLossError(MMRestError, RuntimeError):
    """The loss became NaN or infinite."""


class _LossCheck:
    """Forward hook of a model that tells an :class:`InvalidLossHook` of losses which are not finite.

    Pickled and copied as a hook that does nothing, so that a model can be saved as a whole while it trains.
    """

    def __init__(self, hook: InvalidLossHook, runner: Runner) -> None:
        self.hook, self.runner = hook, runner

    def __call__(self, model: nn.Module, args: tuple, kwargs: dict, losses: Any) -> None:
        if not model.training or kwargs.get('mode') != 'loss':
            return
        total, shown = model.parse_losses(losses)
        # This waits for the device; mmengine does so for its log after every step in any case.
        if isinstance(total, Tensor) and not torch.isfinite(total).all():
            self.hook._stop(self.runner, shown)

    def __reduce__(self) -> tuple:
        return _NoCheck, ()


class _NoCheck:
    """Forward hook of a copied model, which does nothing."""

    def __call__(self, *args: Any) -> None:
        pass


@HOOKS.register_module()
class InvalidLossHook(Hook):
    """Stops training at a loss that is NaN or infinite, before the step that would carry it into the weights.

    It looks at the loss as the model returns it. Gradients that overflow under the loss scaling of mixed
    precision are another thing, and left to the scaler, which leaves out that step and goes on.

    Every process looks at its own loss. One that stops saves, under ``invalid_loss_iter_<n>`` in the work dir (with
    ``_rank<r>`` after it in other processes than the first): a checkpoint with weights and optimizer as they were
    before this step, and a JSON file with the losses, the images of the batch and the seeds of their augmentation.
    """

    _check: RemovableHandle | None = None

    def before_train(self, runner: Runner) -> None:
        """Have the losses that the model returns checked."""
        model = inner_model(runner.model)
        self._batch: Any = None
        self._batch_idx = 0
        self.after_train(runner)  # an earlier training may have been stopped
        if not hasattr(model, 'parse_losses'):
            runner.logger.warning(f'{type(model).__name__} has no parse_losses: its loss is not checked.')
            return
        self._check = model.register_forward_hook(_LossCheck(self, runner), with_kwargs=True)

    def after_train(self, runner: Runner) -> None:
        """Leave the model as it was."""
        if self._check is not None:
            self._check.remove()
            self._check = None

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Keep the batch at hand."""
        self._batch, self._batch_idx = data_batch, batch_idx

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Let go of the batch."""
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
            known = isinstance(batches, SeededBatchSampler)
            seeds = batches.sample_seeds(self._batch_idx, len(paths)) if known else None
            facts = dict(
                iteration=runner.iter + 1,
                epoch=runner.epoch + 1,
                rank=runner.rank,
                images=paths,
                seeds=seeds,
                losses={key: str(value) for key, value in values.items()},
                checkpoint=checkpoint,
            )
            atomic_write(folder / f'{name}.json', json.dumps(facts, indent=2).encode())
            saved.append(str(folder / f'{name}.json'))
            kept = 'Saved, as things were before this step: ' + ', '.join(saved)
        except OSError as error:  # what happened is worth more than that a disk is full
            kept = f'The state could not be saved: {error.filename}: {error.strerror or error}'
        shown = ', '.join(f'{key} = {values[key]}' for key in invalid)
        rank = f', process {runner.rank}' if runner.world_size > 1 else ''
        images = '\n'.join(f'  {path}' for path in paths) or '  (their paths are not in the batch)'
        raise InvalidLossError(
            f'The loss is not finite at iteration {runner.iter + 1} (epoch {runner.epoch + 1}'
            f'{rank}): {shown}.\nImages of this batch:\n{images}\n{kept}.\n{ADVICE}'
        )

    @staticmethod
    def _save(runner: Runner, name: str) -> str | None:
        """Save a checkpoint from whichever process this is; None where the weights are spread over processes."""
        if is_model_wrapper(runner.model) and not isinstance(runner.model, DistributedDataParallel):
            return None
        save = getattr(type(runner).save_checkpoint, '__wrapped__', None)  # the method, in every process
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
    """The image paths in a batch, whatever it is made of."""
    if isinstance(batch, dict):
        found = [batch['img_path']] if isinstance(batch.get('img_path'), str) else []
        return found + [path for value in batch.values() for path in _image_paths(value)]
    if isinstance(batch, (list, tuple)):
        return [path for value in batch for path in _image_paths(value)]
    path = getattr(batch, 'img_path', None)
    return [path] if isinstance(path, str) else []
