"""The tools on a segmentor of mmseg, with the label maps of the drawn shapes."""

import re

import pytest

pytest.importorskip('mmseg')
pytest.importorskip('mmcv._ext')

CONFIG = """
_base_ = '{repo}/configs/upernet_rest_lite_shapes.py'
head = dict(channels=8, norm_cfg=dict(_delete_=True, type='BN'))
model = dict(
    data_preprocessor=dict(size=(64, 64)),
    backbone=dict(type='ResTv2', style='win', window_sizes=(8, 4, 2, 1), arch=dict(
        _delete_=True, embed_dims=(8, 16, 24, 32), depths=(1, 1, 1, 1), num_heads=(1, 2, 4, 8),
        sr_ratios=(8, 4, 2, 1))),
    decode_head=dict(in_channels=[8, 16, 24, 32], **head),
    auxiliary_head=dict(in_channels=24, **head))
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False)
val_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = val_dataloader
train_cfg = dict(max_iters=2, val_interval=2)
param_scheduler = []
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2, max_keep_ckpts=-1))
"""


def test_train_resume_and_test_segmentor_prints_miou(run, repo, shapes, tmp_path, own_process_state):
    (tmp_path / 'seg.py').write_text(CONFIG.replace('{repo}', str(repo)))

    def logged(tool, *args):
        before = set((tmp_path / 'work_dirs').glob('**/*.log'))
        run(tool, 'seg.py', *args)
        (log,) = set((tmp_path / 'work_dirs').glob('**/*.log')) - before
        return log.read_text()

    options = ['--cfg-options', f'data_root={shapes}']
    out = logged('train', '--auto-scale-lr', *options)
    assert re.findall(r'Iter\(train\).*? lr: (\S+)', out) == ['2.5000e-04'] * 2  # 1e-3 is for 8 images
    assert 'Batch: 2 images' in out and 'was scaled to 0.00025' in out and 'mIoU:' in out
    out = logged('train', '--resume', *options, 'train_cfg.max_iters=3')
    assert re.search(r'resumed epoch: \d+, iter: 2\b', out) and len(re.findall(r'Iter\(train\)', out)) == 1
    assert '0.00025 would fit (--auto-scale-lr)' in out
    out = logged('test', 'work_dirs/seg/iter_2.pth', '--out', 'maps', '--show-dir', 'painted', *options)
    assert 'mIoU:' in out and '100.0% of the model' in out
    assert len(list((tmp_path / 'maps').glob('*.png'))) == 4
    assert len(list((tmp_path / 'painted').glob('**/*.png'))) == 4
    assert 'mIoU:' in logged('test', 'work_dirs/seg/iter_2.pth', '--tta', *options)
