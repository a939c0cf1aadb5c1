"""Short runs of the tools: training, testing and going on, for every kind of model; and the doctor on what is there."""

import sys

import pytest
import torch
from conftest import REPO, run_process

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')
pytest.importorskip('mmcv.ops')

from helpers.small_runs import train, write_config  # noqa: E402

# Other tests that `make test` runs cover as much in one environment.
pytestmark = [pytest.mark.matrix, pytest.mark.slow, pytest.mark.usefixtures('own_process_state')]
# Two batches of two an epoch.
ONE_EPOCH = {'train_dataloader.dataset.indices': 4, 'train_cfg.max_epochs': 1}
MASKS = """
_base_ = '{repo}/configs/mask_rcnn_rest_lite_fpn_shapes.py'
arch = dict(
    _delete_=True, embed_dims=(8, 16, 24, 32), depths=(1, 1, 2, 1), num_heads=(1, 2, 4, 8), sr_ratios=(8, 4, 2, 1))
model = dict(
    backbone=dict(arch=arch), neck=dict(in_channels=[8, 16, 24, 32], out_channels=16),
    rpn_head=dict(in_channels=16, feat_channels=16),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=16), bbox_head=dict(in_channels=16, fc_out_channels=16),
        mask_roi_extractor=dict(out_channels=16), mask_head=dict(num_convs=1, in_channels=16, conv_out_channels=16)),
    test_cfg=dict(rcnn=dict(score_thr=0.0)))
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False, dataset=dict(data_root='{data}/'))
val_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False, dataset=dict(data_root='{data}/'))
val_evaluator = dict(ann_file='{data}/annotations/instances_val.json')
test_dataloader = val_dataloader
test_evaluator = val_evaluator
train_cfg = dict(val_begin=100)
visualizer = dict(vis_backends=[])
"""


def test_detector_trained_tested_and_resumed_counts_epochs(run, repo, shapes, tmp_path):
    """Epochs are counted."""
    config = write_config(tmp_path, 'epochs', repo, shapes)
    losses = train(config, tmp_path / 'run', **ONE_EPOCH)
    run('test', config, tmp_path / 'run/epoch_1.pth', '--out', tmp_path / 'found.pkl')
    assert (tmp_path / 'found.pkl').stat().st_size > 0
    later = train(config, tmp_path / 'run', 'auto', **{**ONE_EPOCH, 'train_cfg.max_epochs': 2})
    assert [*losses, *later] == [1, 2, 3, 4] and len({*losses.values(), *later.values()}) == 4


def test_segmentor_resumed_has_the_losses_of_an_uninterrupted_run(run, repo, shapes, tmp_path):
    """Iterations are counted; those of the resumed run are those of one that went through."""
    config = write_config(tmp_path, 'iterations', repo, shapes)
    options = {'default_hooks.checkpoint.interval': 2}
    losses = train(config, tmp_path / 'run', **options, **{'train_cfg.max_iters': 2})
    run('test', config, tmp_path / 'run/iter_2.pth', '--out', tmp_path / 'found')
    assert len(list((tmp_path / 'found').glob('*.png'))) == 4
    later = train(config, tmp_path / 'run', 'auto', **options, **{'train_cfg.max_iters': 4})
    whole = train(config, tmp_path / 'whole', **options, **{'train_cfg.max_iters': 4})
    assert sorted(whole) == [1, 2, 3, 4] and {**losses, **later} == whole


def test_mask_rcnn_trained_and_tested_writes_predictions(run, repo, shapes, tmp_path):
    config = tmp_path / 'masks.py'
    config.write_text(MASKS.format(repo=repo, data=shapes))
    assert len(train(str(config), tmp_path / 'run', **ONE_EPOCH)) == 2
    run('test', config, tmp_path / 'run/epoch_1.pth', '--out', tmp_path / 'found.pkl')
    assert (tmp_path / 'found.pkl').stat().st_size > 0


def test_doctor_in_a_working_environment_finds_no_fault(tmp_path):
    printed = run_process([sys.executable, '-m', 'mmrest', 'doctor'], REPO)
    assert 'FAIL' not in printed and f'torch        {torch.__version__.split("+")[0]}' in printed
