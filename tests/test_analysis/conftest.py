"""A small detector to look at, as a config file and as a checkpoint."""
import pytest
import torch

CONFIG = """
_base_ = '{repo}/configs/retinanet_rest_lite_fpn_shapes.py'
arch = dict(embed_dims=(8, 16, 24, 32), depths=(1, 1, 2, 1), num_heads=(1, 2, 4, 8), sr_ratios=(8, 4, 2, 1))
model = dict(
    backbone=dict(_delete_=True, type='{backbone}', arch=arch, out_indices=(1, 2, 3)),
    neck=dict(in_channels=[16, 24, 32], out_channels=16),
    bbox_head=dict(in_channels=16, feat_channels=16, stacked_convs=1),
    test_cfg=dict(score_thr=0.0, nms_pre=20, max_per_img=5))
"""


@pytest.fixture(scope='session')
def configs(repo, tmp_path_factory):
    """Config files of a detector with either backbone."""
    pytest.importorskip('mmdet')
    pytest.importorskip('mmcv._ext')
    folder = tmp_path_factory.mktemp('configs')
    paths = {}
    for backbone in ('ResT', 'ResTv2'):
        paths[backbone] = folder / f'{backbone.lower()}.py'
        paths[backbone].write_text(CONFIG.format(repo=repo, backbone=backbone))
    return paths


@pytest.fixture(scope='session')
def checkpoint(configs, tmp_path_factory):
    """Weights of the detector with ResT."""
    from mmrest.analysis.subject import load_subject
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('weights') / 'rest.pth'
    torch.save(dict(state_dict=load_subject(str(configs['ResT']), 'none').model.state_dict()), path)
    return path
