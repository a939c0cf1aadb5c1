"""Report of the batch beside the learning rate."""

from __future__ import annotations

import logging

from mmengine.hooks import Hook
from mmengine.runner import Runner


class BatchReportHook(Hook):
    """Says before training how large the batch is, and which one the learning rate was made for."""

    def before_train(self, runner: Runner) -> None:
        optimizer = (runner.cfg.get('optim_wrapper') or {}).get('optimizer') or {}
        scaling = runner.cfg.get('auto_scale_lr') or {}
        # Not that of the loader built from it: with a batch sampler it has none.
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
    lr: float, recipe: int, processes: int, batch_size: int, accumulated: int, scaled: bool
) -> tuple[str, bool]:
    """What to say of a run's batch beside its learning rate, and whether the two fit.

    Args:
        lr (float): Learning rate of the config.
        recipe (int): Batch it was made for.
        processes (int): Number of processes.
        batch_size (int): Images in each process.
        accumulated (int): Batches whose gradients are summed before a step.
        scaled (bool): mmengine has scaled the learning rate to ``processes * batch_size``.
    """
    batch = processes * batch_size
    text = f'Batch: {batch * accumulated} images a step ({processes} process{"es" * (processes > 1)} x {batch_size}'
    text += f' images x {accumulated} accumulated batches)' if accumulated > 1 else ' images)'
    text += f'. The learning rate {lr:g} is made for {recipe}'
    if scaled:
        text += f' and was scaled to {lr * batch / recipe:g}'
        # mmengine scales by what is in memory at a time.
        return text + (', leaving accumulation out of account.' if accumulated > 1 else '.'), accumulated == 1
    if batch * accumulated == recipe:
        return text + '.', True
    hint = ' (--auto-scale-lr)' if accumulated == 1 else ''
    return text + f': {lr * batch * accumulated / recipe:g} would fit{hint}.', False
