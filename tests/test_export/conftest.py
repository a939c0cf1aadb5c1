"""Fixtures of the tests of exporting."""

import pytest

UPERNET = """
_base_ = '{repo}/configs/upernet_rest_lite_shapes.py'
head = dict(channels=8, norm_cfg=dict(_delete_=True, type='GN', num_groups=4))
model = dict(
    backbone=dict(_delete_=True, type='ResTv2', out_indices=(0, 1),
                  arch=dict(embed_dims=(8, 16), depths=(1, 1), num_heads=(1, 2), sr_ratios=(4, 2))),
    decode_head=dict(in_channels=[8, 16], in_index=[0, 1], pool_scales=(1, 2, 3), **head),
    auxiliary_head=None)
"""


@pytest.fixture
def onnx():
    """The package onnx; tests are skipped where it, its runtime or the converter are missing."""
    pytest.importorskip('onnxscript')
    pytest.importorskip('onnxruntime')
    return pytest.importorskip('onnx')


@pytest.fixture(scope='session')
def upernet(repo, tmp_path_factory) -> str:
    """Config of a UPerNet on two stages of ResTv2."""
    pytest.importorskip('mmseg')
    pytest.importorskip('mmcv._ext')
    path = tmp_path_factory.mktemp('upernet') / 'upernet.py'
    path.write_text(UPERNET.format(repo=repo))
    return str(path)
