"""Warnings about a warm-up that takes most of a run."""

import pytest
import torch
from helpers.small_runs import build, stop_workers, write_config
from mmengine.optim import ConstantLR, CosineAnnealingLR, LinearLR, MultiStepLR

from mmrest.engine.hooks.schedule_report import describe_warmup

NEVER = 'the learning rate never reaches that of the config'


@pytest.mark.parametrize(
    'kind, options, length, said',
    [
        (LinearLR, dict(by_epoch=False, end=60), 9, f'The warm-up takes 60 iterations, and this run has 9: {NEVER}.'),
        (LinearLR, dict(by_epoch=False, end=9), 9, f'takes 9 iterations, and this run has 9: {NEVER}.'),
        (LinearLR, dict(by_epoch=False, end=500), 600, 'the learning rate of the config is left for 100 of them.'),
        (LinearLR, dict(by_epoch=False, end=300), 600, ''),
        (LinearLR, dict(by_epoch=True, end=5), 6, 'The warm-up takes 5 epochs, and this run has 6'),
        (LinearLR, dict(by_epoch=False, begin=10, end=500), 600, ''),  # no warm-up
        (ConstantLR, dict(by_epoch=False, end=60), 9, 'The warm-up takes 60 iterations'),
        (CosineAnnealingLR, dict(by_epoch=False, T_max=600), 600, ''),
        (MultiStepLR, dict(by_epoch=True, milestones=[8], end=12), 6, ''),
    ],
)
def test_describe_warmup_that_takes_most_of_a_run(kind, options, length, said):
    scheduler = kind(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1), **options)
    text = describe_warmup('param_scheduler.0', scheduler, length)
    assert said in text and bool(said) == bool(text)
    assert not text or 'Lower param_scheduler.0.end' in text


def test_run_shorter_than_its_warmup_says_so(own_process_state, repo, shapes, tmp_path):
    for library in ('mmdet', 'mmcv._ext'):
        pytest.importorskip(library)
    runner = build(
        write_config(tmp_path, 'epochs', repo, shapes),
        tmp_path / 'run',
        **{'train_cfg.max_epochs': 1, 'train_dataloader.dataset.indices': 2},
    )
    runner.train()
    stop_workers(runner)
    (log,) = (tmp_path / 'run').glob('*/*.log')
    text = log.read_text()
    assert text.count(f'The warm-up takes 12 iterations, and this run has 1: {NEVER}.') == 1
    # One line for each parameter is for the file; the console has their number.
    assert text.count('paramwise_options -- ') > 20 and 'lines about paramwise_options' in text
