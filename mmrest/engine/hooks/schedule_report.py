"""Warning about a warm-up that takes most of a run."""

from __future__ import annotations

from typing import Any, Iterator, Sequence

from mmengine.hooks import Hook
from mmengine.runner import Runner

# Schedulers that libraries of OpenMMLab use for a warm-up, at the beginning of a run.
WARMUPS = ('LinearLR', 'ConstantLR', 'QuadraticWarmupLR')
MAX_SHARE = 0.5


class ScheduleReportHook(Hook):
    """Log a warning before training if the warm-up of the learning rate takes more than half of the run.

    The schedules of the papers are for COCO and ADE20K; on a small dataset, a warm-up in iterations can be longer than
    the run.
    """

    def before_train(self, runner: Runner) -> None:
        """Compare the warm-ups with the number of iterations."""
        for name, scheduler in _schedulers(runner.param_schedulers):
            length = runner.max_epochs if scheduler.by_epoch else runner.max_iters
            text = describe_warmup(name, scheduler, length)
            if text:
                runner.logger.warning(text)


def _schedulers(schedulers: Any) -> Iterator[tuple[str, Any]]:
    """Yield the schedulers of a runner with their names in the config."""
    if isinstance(schedulers, dict):  # of several optimizers
        for name, each in schedulers.items():
            yield from ((f'param_scheduler.{name}.{number}', one) for number, one in enumerate(each))
    elif isinstance(schedulers, Sequence):
        yield from ((f'param_scheduler.{number}', one) for number, one in enumerate(schedulers))


def describe_warmup(name: str, scheduler: Any, length: int) -> str:
    """Return the warning for a warm-up that takes more than half of a run; empty for others.

    Args:
        name (str): Name of the scheduler in the config.
        scheduler (object): Scheduler of mmengine.
        length (int): Length of the run in the unit of the scheduler, epochs or iterations.
    """
    is_warmup = type(scheduler).__name__ in WARMUPS and scheduler.begin == 0
    if not is_warmup or scheduler.end <= MAX_SHARE * length:
        return ''
    unit = 'epochs' if scheduler.by_epoch else 'iterations'
    if scheduler.end >= length:
        effect = 'the learning rate never reaches that of the config'
    else:
        effect = f'the learning rate of the config is left for {length - scheduler.end} of them'
    return (
        f'The warm-up takes {scheduler.end} {unit}, and this run has {length}: {effect}. Lower {name}.end, for example '
        'to a tenth of the run, or train for longer.'
    )
