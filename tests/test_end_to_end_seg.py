"""The tools on a segmentor of mmseg, with the label maps of the drawn shapes."""
import re
import sys

import pytest
from conftest import run_process

pytest.importorskip('mmseg')
pytest.importorskip('mmcv._ext')

CONFIG = """
_base_ = 'mmseg::_base_/default_runtime.py'
custom_imports = dict(imports=['mmrest'], allow_failed_imports=False)
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(type='SegDataPreProcessor', mean=[127.5] * 3, std=[64.0] * 3, bgr_to_rgb=True, pad_val=0,
                           seg_pad_val=255, size=(64, 64)),
    backbone=dict(type='ResTv2', style='win', window_sizes=(8, 4, 2, 1), arch=dict(
        embed_dims=(8, 16, 24, 32), depths=(1, 1, 1, 1), num_heads=(1, 2, 4, 8), sr_ratios=(8, 4, 2, 1))),
    decode_head=dict(type='FCNHead', in_channels=32, in_index=3, channels=16, num_convs=1, num_classes=5,
                     norm_cfg=dict(type='BN')),
    test_cfg=dict(mode='whole'))
load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
dataset = dict(
    type='BaseSegDataset', data_root='{root}', img_suffix='.png', seg_map_suffix='.png', reduce_zero_label=False,
    metainfo=dict(classes=('background', 'disc', 'square', 'triangle', 'star'),
                  palette=[[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0]]),
    data_prefix=dict(img_path='images/val', seg_map_path='labels/val'), pipeline=[*load, dict(type='PackSegInputs')])
train_dataloader = dict(batch_size=2, num_workers=0, sampler=dict(type='InfiniteSampler'), dataset=dataset)
test_dataloader = dict(batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False), dataset=dataset)
test_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
train_cfg = dict(type='IterBasedTrainLoop', max_iters=2)
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3))
default_hooks = dict(logger=dict(type='LoggerHook', interval=1),
                     checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=2),
                     visualization=dict(type='SegVisualizationHook'))
tta_model = dict(type='SegTTAModel')
tta_pipeline = [dict(type='LoadImageFromFile'), dict(type='TestTimeAug', transforms=[
    [dict(type='Resize', scale_factor=ratio, keep_ratio=True) for ratio in (0.75, 1.25)],
    [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0)],
    [dict(type='LoadAnnotations')], [dict(type='PackSegInputs')]])]
"""


def test_train_and_test(repo, shapes, tmp_path):
    (tmp_path / 'seg.py').write_text(CONFIG.replace('{root}', str(shapes)))

    def run(tool, *args):
        return run_process([sys.executable, repo / 'tools' / tool, 'seg.py', *args], tmp_path)

    assert len(re.findall(r'Iter\(train\)', run('train.py'))) == 2
    out = run('train.py', '--resume', '--cfg-options', 'train_cfg.max_iters=3')
    assert re.search(r'resumed epoch: \d+, iter: 2\b', out) and len(re.findall(r'Iter\(train\)', out)) == 1
    out = run('test.py', 'work_dirs/seg/iter_2.pth', '--out', 'maps', '--show-dir', 'painted')
    assert 'mIoU:' in out and '100.0% of the model' in out
    assert len(list((tmp_path / 'maps').glob('*.png'))) == 4
    assert len(list((tmp_path / 'painted').glob('**/*.png'))) == 4
    assert 'mIoU:' in run('test.py', 'work_dirs/seg/iter_2.pth', '--tta')
