"""Both backbones in mmdet's detectors: a training step and a prediction with every style."""

import pytest
import torch

pytest.importorskip('mmcv._ext')
pytest.importorskip('mmdet')

from mmdet.registry import MODELS  # noqa: E402
from mmdet.testing import demo_mm_inputs  # noqa: E402
from mmdet.utils import register_all_modules  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.hub import get_config  # noqa: E402

import mmrest  # noqa: E402, F401  (registers the backbones)

BACKBONES = [
    dict(type='ResT'),
    *(dict(type='ResTv2', style=style, window_sizes=(8, 4, 2, 1)) for style in ('global', 'win', 'cwin', 'hwin')),
]
# Narrow necks and heads, and few proposals: none of them is under test.
SMALL = {
    'retinanet': {
        'neck.out_channels': 16,
        'bbox_head.in_channels': 16,
        'bbox_head.feat_channels': 16,
        'test_cfg.max_per_img': 5,
    },
    'mask-rcnn': {
        'neck.out_channels': 16,
        'rpn_head.in_channels': 16,
        'rpn_head.feat_channels': 16,
        'roi_head.bbox_roi_extractor.out_channels': 16,
        'roi_head.bbox_head.in_channels': 16,
        'roi_head.bbox_head.fc_out_channels': 32,
        'roi_head.mask_roi_extractor.out_channels': 16,
        'roi_head.mask_head.in_channels': 16,
        'roi_head.mask_head.conv_out_channels': 16,
        'train_cfg.rpn_proposal.nms_pre': 100,
        'train_cfg.rpn_proposal.max_per_img': 50,
        'train_cfg.rcnn.sampler.num': 32,
        'test_cfg.rpn.nms_pre': 100,
        'test_cfg.rpn.max_per_img': 50,
        'test_cfg.rcnn.max_per_img': 5,
    },
}


def build(kind: str, backbone: dict, arch: dict):
    register_all_modules(init_default_scope=True)
    cfg = Config(get_config(f'mmdet::_base_/models/{kind}_r50_fpn.py').to_dict())
    cfg.merge_from_dict({f'model.{key}': value for key, value in SMALL[kind].items()})
    model = cfg.model
    # RetinaNet's pyramid starts at the second stage, Mask R-CNN's at the first.
    first = 1 if kind == 'retinanet' else 0
    model.backbone = dict(arch=arch, out_indices=tuple(range(first, 4)), drop_path_rate=0.1, **backbone)
    model.neck.update(in_channels=list(arch['embed_dims'][first:]), start_level=0)
    return MODELS.build(model)


@pytest.mark.parametrize('backbone', BACKBONES, ids=lambda b: b.get('style', 'ResT'))
@pytest.mark.parametrize('kind', ['retinanet', 'mask-rcnn'])
def test_detector_with_any_style_trains_a_step_and_predicts(kind, backbone, tiny):
    model = build(kind, backbone, tiny)
    model.init_weights()
    data = demo_mm_inputs(
        2, image_shapes=[(3, 96, 128), (3, 70, 101)], num_items=[2, 1], num_classes=80, with_mask=True
    )
    loss, _ = model.parse_losses(model.train()(**model.data_preprocessor(data, True), mode='loss'))
    loss.backward()
    assert loss.isfinite()
    assert [key for key, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    with torch.no_grad():
        results = model.eval()(**model.data_preprocessor(data, False), mode='predict')
    assert ['bboxes' in result.pred_instances for result in results] == [True, True]
