"""Several processes on CPUs: they train as one process does with the same images."""

import json
import os
import re
import sys
from pathlib import Path

import cv2
import pytest
from conftest import free_port, run_process
from helpers.detector_runs import SMALL, steps
from helpers.docs_blocks import read_blocks
from helpers.report_pages import ReportPage

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')
pytest.importorskip('mmcv._ext')

# Writes down the loss of each step, averaged over the processes.
RECORD = """
import json
from mmengine.dist import all_reduce, is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

@HOOKS.register_module()
class RecordLoss(Hook):
    losses = []
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        loss = outputs['loss'].detach().clone().double()
        all_reduce(loss, 'mean')
        self.losses.append(loss.item())
        if is_main_process():
            with open('losses.json', 'w') as file:
                json.dump(self.losses, file)
"""
COMMON = """
custom_imports = dict(imports=['mmrest', 'record'], allow_failed_imports=False)
custom_hooks = [dict(type='RecordLoss')]
arch = dict(
    _delete_=True, embed_dims=(8, 16, 24, 32), depths=(1, 1, 1, 1), num_heads=(1, 2, 4, 8), sr_ratios=(8, 4, 2, 1))
optim_wrapper = dict(_delete_=True, type='OptimWrapper', optimizer=dict(type='SGD', lr=0.05))
param_scheduler = []
val_cfg = val_dataloader = val_evaluator = None
find_unused_parameters = False
norm_cfg = dict(_delete_=True, type='GN', num_groups=4)
"""
DETECTOR = (
    "_base_ = '{repo}/configs/retinanet_rest_lite_fpn_shapes.py'"
    + COMMON
    + """
model = dict(
    backbone=dict(arch=arch, norm_eval=True),
    neck=dict(in_channels=[16, 24, 32], out_channels=16, norm_cfg=norm_cfg),
    bbox_head=dict(in_channels=16, feat_channels=16, stacked_convs=1, norm_cfg=norm_cfg))
load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True), dict(type='PackDetInputs')]
train_dataloader = dict(
    batch_size=4, num_workers=0, persistent_workers=False, batch_sampler=None, dataset=dict(pipeline=load),
    sampler=dict(shuffle=False))
train_cfg = dict(max_epochs=4)
"""
)
SEGMENTOR = (
    "_base_ = '{repo}/configs/upernet_rest_lite_shapes.py'"
    + COMMON
    + """
head = dict(channels=8, num_classes=5, norm_cfg=norm_cfg, dropout_ratio=0.0)
model = dict(
    data_preprocessor=dict(size=(64, 64)),
    backbone=dict(arch=arch, norm_eval=True),
    decode_head=dict(in_channels=[8, 16, 24, 32], **head),
    auxiliary_head=dict(in_channels=24, **head))
load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]
train_dataloader = dict(
    batch_size=4, num_workers=0, persistent_workers=False, dataset=dict(pipeline=load), sampler=dict(shuffle=False))
train_cfg = dict(max_iters=4, val_interval=100)
"""
)

MASKS = (
    "_base_ = '{repo}/configs/mask_rcnn_rest_lite_fpn_shapes.py'"
    + COMMON
    + """
model = dict(
    backbone=dict(arch=arch, norm_eval=True),
    neck=dict(in_channels=[8, 16, 24, 32], out_channels=16, norm_cfg=norm_cfg),
    rpn_head=dict(in_channels=16, feat_channels=16),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=16), bbox_head=dict(in_channels=16, fc_out_channels=16),
        mask_roi_extractor=dict(out_channels=16),
        mask_head=dict(num_convs=1, in_channels=16, conv_out_channels=16, norm_cfg=norm_cfg)))
load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
        dict(type='PackDetInputs')]
train_dataloader = dict(
    batch_size=1, num_workers=0, persistent_workers=False, batch_sampler=None, sampler=dict(shuffle=False),
    dataset=dict(pipeline=load, filter_cfg=dict(filter_empty_gt=False), indices=4))
train_cfg = dict(max_epochs=2)
"""
)


@pytest.fixture(scope='module')
def pairs(shapes, tmp_path_factory) -> Path:
    """Two images with objects, each followed by its negative.

    Two processes get one of each pair, so both see the same boxes: mmdet averages a RetinaNet's loss over the
    boxes of a process, and only with equal numbers is the mean over processes that over all boxes.
    """
    root = tmp_path_factory.mktemp('pairs')
    source = json.loads((shapes / 'annotations/instances_train.json').read_text())
    images, annotations = [], []
    for kind in ('images', 'labels'):
        (root / kind / 'train').mkdir(parents=True)
    with_objects = {annotation['image_id'] for annotation in source['annotations']}
    for image in [image for image in source['images'][2:] if image['id'] in with_objects][:2]:
        for negative in (False, True):
            name = f'{len(images)}.png'
            pixels = cv2.imread(str(shapes / 'images/train' / image['file_name']))
            cv2.imwrite(str(root / 'images/train' / name), 255 - pixels if negative else pixels)
            labels = (shapes / 'labels/train' / image['file_name']).read_bytes()
            (root / 'labels/train' / name).write_bytes(labels)
            images.append({**image, 'id': len(images) + 1, 'file_name': name})
            annotations += [
                {**a, 'id': len(annotations) + i + 1, 'image_id': len(images)}
                for i, a in enumerate(a for a in source['annotations'] if a['image_id'] == image['id'])
            ]
    (root / 'annotations').mkdir()
    (root / 'annotations/instances_train.json').write_text(
        json.dumps({**source, 'images': images, 'annotations': annotations})
    )
    return root


def train(repo: Path, cwd: Path, config: str, processes: int, *options: str, script: bool = True) -> str:
    """Train with a config, given as text, in a folder of its own, by a file of tools/ or by ``mmrest train``.

    Returns:
        str: The output.
    """
    cwd.mkdir()
    (cwd / 'config.py').write_text(config.replace('{repo}', str(repo)))
    (cwd / 'record.py').write_text(RECORD)
    environment = {
        **os.environ,
        'PYTHON': sys.executable,
        'PORT': str(free_port()),
        'OMP_NUM_THREADS': '1',
        'PYTHONPATH': f'{cwd}:{os.environ.get("PYTHONPATH", "")}',
    }
    command = [sys.executable, repo / 'tools/train.py', 'config.py']
    if processes > 1:
        command = [repo / 'tools/dist_train.sh', 'config.py', processes]
    if not script:
        launch = [sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node', processes]
        port = ['--master_port', environment['PORT']]
        command = [*launch, *port, '-m', 'mmrest', 'train', 'config.py', '--launcher', 'pytorch']
    return run_process([*command, '--cfg-options', *options], cwd, environment)


@pytest.mark.slow
@pytest.mark.parametrize('config', [pytest.param(DETECTOR, id='detector'), pytest.param(SEGMENTOR, id='segmentor')])
def test_training_two_processes_with_half_the_batch_gives_the_same_losses(repo, pairs, tmp_path, config):
    """The same losses, after the first step too: so the same gradients."""
    options = [f'data_root={pairs}', 'randomness.seed=0']
    out = train(repo, tmp_path / 'one', config, 1, *options)
    assert 'Batch: 4 images a step (1 process x 4 images)' in out
    out = train(repo, tmp_path / 'two', config, 2, *options, 'train_dataloader.batch_size=2')
    assert 'Batch: 4 images a step (2 processes x 2 images)' in out
    one, two = (json.loads((tmp_path / name / 'losses.json').read_text()) for name in ('one', 'two'))
    assert len(one) == 4 and len(set(one)) == 4  # it trains
    assert two == pytest.approx(one, rel=2e-5)


@pytest.mark.slow  # of the detector, the test of the tools below trains one with the same options
@pytest.mark.parametrize('config', [pytest.param(DETECTOR, id='detector'), pytest.param(SEGMENTOR, id='segmentor')])
def test_training_two_processes_with_frozen_stages_and_checkpointing_runs(repo, pairs, tmp_path, config):
    """find_unused_parameters=False suffices; SyncBN, which CPUs do not have, becomes BN."""
    config = config.replace("type='GN', num_groups=4", "type='SyncBN'")
    out = train(
        repo,
        tmp_path / 'two',
        config,
        2,
        f'data_root={pairs}',
        'train_dataloader.batch_size=2',
        'model.backbone.frozen_stages=2',
        'model.backbone.with_cp=True',
        'model.backbone.norm_eval=False',
    )
    assert re.search(r'Replaced SyncBN by BN in \d places of the model: there is no GPU', out)
    assert len(json.loads((tmp_path / 'two/losses.json').read_text())) >= 4


@pytest.mark.slow
def test_training_two_processes_one_without_objects_gives_finite_losses(repo, shapes, tmp_path):
    """The second image has no objects, and the mask head of its process has to take part all the same."""
    options = [f'data_root={shapes}', 'model.backbone.with_cp=True']
    out = train(repo, tmp_path / 'two', MASKS, 2, *options, script=False)
    assert 'loss_mask' in out
    losses = json.loads((tmp_path / 'two/losses.json').read_text())
    assert len(losses) == 4 and [loss for loss in losses if not 0 < loss < 100] == []


@pytest.mark.slow
def test_training_fsdp_in_two_processes_gives_the_same_losses(repo, pairs, tmp_path):
    """FSDP through mmengine's strategy: the losses of one process, and of each process a part of the checkpoint."""
    options = [f'data_root={pairs}', 'randomness.seed=0']
    train(repo, tmp_path / 'one', DETECTOR, 1, *options)
    # As docs/reliability.md has it.
    sharded = next(block.text for block in read_blocks(repo / 'docs/reliability.md') if 'FSDPStrategy' in block.text)
    train(
        repo,
        tmp_path / 'two',
        DETECTOR + sharded,
        2,
        *options,
        'train_dataloader.batch_size=2',
        'strategy.model_wrapper.device_id=cpu',
    )
    one, two = (json.loads((tmp_path / name / 'losses.json').read_text()) for name in ('one', 'two'))
    assert len(one) == 4 and two == pytest.approx(one, rel=2e-5)
    # Parts can be opened only by as many processes; together they are about as large as the checkpoint of one.
    parts = [path.stat().st_size for path in (tmp_path / 'two/work_dirs/config/epoch_4.pth').glob('rank*.pth')]
    assert len(parts) == 2
    assert 0.8 < sum(parts) / (tmp_path / 'one/work_dirs/config/epoch_4.pth').stat().st_size < 2


def test_dist_train_and_dist_test_two_cpu_processes_print_coco_metrics(repo, shapes, tmp_path):
    """Frozen stages, gradient checkpointing and SyncBN included, without find_unused_parameters."""
    config = tmp_path / 'small.py'
    sync_bn = "out_channels=16, norm_cfg=dict(_delete_=True, type='SyncBN')"
    config.write_text(SMALL.format(repo=repo, epochs=1).replace('out_channels=16', sync_bn, 1))
    environment = {**os.environ, 'PYTHON': sys.executable, 'PORT': str(free_port()), 'OMP_NUM_THREADS': '1'}
    options = [
        '--cfg-options',
        f'data_root={shapes}',
        'find_unused_parameters=False',
        'model.backbone.with_cp=True',
        'model.backbone.frozen_stages=2',
        'model.backbone.norm_eval=False',
    ]

    def launch(script, *args):
        return run_process([repo / 'tools' / script, *args, '--work-dir', 'run', *options], tmp_path, environment)

    out = launch('dist_train.sh', config, 2)
    # Nine images with objects, two processes of two: three steps instead of five.
    assert sorted(steps(out)) == [(1, 1), (1, 2), (1, 3)]
    assert re.search(r'Replaced SyncBN by BN in \d places of the model: there is no GPU', out)
    assert 'coco/bbox_mAP:' in launch('dist_test.sh', config, 'run/epoch_1.pth', 2, '--tta', '--report', 'page')
    # The report is of the images of both.
    page = ReportPage(tmp_path / 'page/index.html')
    annotations = json.loads((shapes / 'annotations/instances_val.json').read_text())['annotations']
    objects = sum(not annotation['iscrowd'] for annotation in annotations)
    assert sum(map(int, page.column('classes', 'objects').values())) == objects > 0
    assert {'2; the times are those of the first one', 'DetTTAModel'} <= set(page.texts)
