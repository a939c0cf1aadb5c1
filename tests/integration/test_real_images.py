"""Unchanged configs on a handful of images of COCO and ADE20K; minutes each."""

import re
import sys

import pytest
from conftest import run_process

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')
pytest.importorskip('mmcv._ext')


def run(repo, cwd, tool, config, *args, options=()):
    loaders = [
        f'{phase}_dataloader.{key}'
        for phase in ('train', 'val', 'test')
        for key in ('num_workers=0', 'persistent_workers=False')
    ]
    command = [sys.executable, repo / 'tools' / tool, repo / 'configs' / f'{config}.py', *args]
    options = [*loaders, 'default_hooks.logger.interval=1', *options]
    return run_process([*command, '--cfg-options', *options], cwd, timeout=1800)


@pytest.mark.slow
@pytest.mark.parametrize('config', ['mask_rcnn_rest_small_fpn_1x_coco', 'mask_rcnn_restv2_tiny_cwin_fpn_1x_coco'])
def test_mask_rcnn_on_coco_images_trains_and_validates(repo, external, tmp_path, config):
    images = [f'{phase}_dataloader.dataset.indices=4' for phase in ('train', 'val', 'test')]
    out = run(
        repo,
        tmp_path,
        'train.py',
        config,
        options=[
            f'data_root={external}/data/tiny_coco/',
            'train_cfg.max_epochs=1',
            *images,
            'model.test_cfg.rcnn.score_thr=0.0',
        ],
    )  # after so little training nothing is found with certainty
    assert len(re.findall(r'Epoch\(train\)', out)) == 2 and 'would fit (--auto-scale-lr)' in out
    assert 'coco/bbox_mAP: ' in out and 'coco/segm_mAP: ' in out


@pytest.mark.slow
def test_upernet_on_ade20k_images_trains_and_tests_with_tta(repo, external, tmp_path):
    config = 'upernet_restv2_tiny_512x512_160k_ade20k'
    data = f'data_root={external}/data/tiny_ade20k'
    out = run(
        repo,
        tmp_path,
        'train.py',
        config,
        '--auto-scale-lr',
        options=[data, 'train_cfg.max_iters=2', 'train_cfg.val_interval=2'],
    )
    assert re.findall(r'Iter\(train\).*? base_lr: (\S+)', out)[0].startswith('7.5')  # 6e-5 x 2 / 16, warming up
    assert 'mIoU: ' in out
    # One of the images, at six scales and mirrored.
    out = run(
        repo,
        tmp_path,
        'test.py',
        config,
        f'work_dirs/{config}/iter_2.pth',
        '--tta',
        options=[data, 'test_dataloader.dataset.indices=1'],
    )
    assert 'mIoU: ' in out and '100.0% of the model' in out


def test_tta_pipeline_gives_six_scales_and_their_mirror_images(repo, external):
    """The shorter side of an image is 256 to 896."""
    from mmengine.config import Config
    from mmseg.registry import DATASETS
    from mmseg.utils import register_all_modules

    register_all_modules(init_default_scope=True)
    cfg = Config.fromfile(repo / 'configs/upernet_restv2_tiny_512x512_160k_ade20k.py')
    cfg.test_dataloader.dataset.update(data_root=f'{external}/data/tiny_ade20k', pipeline=cfg.tta_pipeline)
    for item in DATASETS.build(cfg.test_dataloader.dataset):
        shapes = [tuple(image.shape[1:]) for image in item['inputs']]
        assert sorted(min(shape) for shape in shapes) == sorted(2 * [256, 384, 512, 640, 768, 896])
        flips = [sample.flip for sample in item['data_samples']]
        assert flips.count(True) == flips.count(False) == 6
        label = item['data_samples'][0].gt_sem_seg.data
        assert tuple(label.shape[1:]) == item['data_samples'][0].ori_shape
        assert set(label.unique().tolist()) <= {*range(150), 255}  # class 0 is the first one, not "other"
