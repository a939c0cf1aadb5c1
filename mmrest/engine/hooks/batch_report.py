"""Report of batch size and learning rate."""

from __future__ import annotations

import logging

from mmengine.hooks import Hook
from mmengine.runner import Runner


class BatchReportHook(Hook):
    """Log the total batch size before training, and the batch size that the learning rate is meant for."""

    def before_train(self, runner: Runner) -> None:
        optimizer = (runner.cfg.get('optim_wrapper') or {}).get('optimizer') or {}
        scaling = runner.cfg.get('auto_scale_lr') or {}
        # A loader with a batch sampler has no batch_size.
        batch_size = (runner.cfg.get('train_dataloader') or {}).get('batch_size')
        if 'lr' in optimizer and scaling.get('base_batch_size') and batch_size:
            steps = runner.cfg.optim_wrapper.get('accumulative_counts', 1)
            text, fits = describe_batch(
                optimizer['lr'],
                scaling['base_batch_size'],
                runner.world_size,
                batch_size,
                steps,
                scaling.get('enable', False),
            )
            runner.logger.log(logging.INFO if fits else logging.WARNING, text)


def describe_batch(
    lr: float, base_batch_size: int, world_size: int, batch_size: int, accumulative_counts: int, scaled: bool
) -> tuple[str, bool]:
    """Describe the total batch size of a run and its learning rate.

    Args:
        lr (float): Learning rate of the config.
        base_batch_size (int): Batch size that the learning rate is meant for.
        world_size (int): Number of processes.
        batch_size (int): Images per process.
        accumulative_counts (int): Number of batches per step whose gradients are accumulated.
        scaled (bool): mmengine has scaled the learning rate to ``world_size * batch_size``.

    Returns:
        tuple[str, bool]: The message, and False if it should be a warning.
    """
    loaded = world_size * batch_size
    total = loaded * accumulative_counts
    text = f'Batch: {total} images a step ({world_size} process{"es" * (world_size > 1)} x {batch_size} images'
    text += f' x {accumulative_counts} accumulated batches)' if accumulative_counts > 1 else ')'
    text += f'. The learning rate {lr:g} is made for {base_batch_size}'
    if scaled:
        text += f' and was scaled to {lr * loaded / base_batch_size:g}'
        # mmengine scales by the batch size without accumulation.
        return text + (', ignoring accumulation.' if accumulative_counts > 1 else '.'), accumulative_counts == 1
    if total == base_batch_size:
        return text + '.', True
    hint = ' (--auto-scale-lr)' if accumulative_counts == 1 else ''
    return text + f': {lr * total / base_batch_size:g} would fit{hint}.', False
