"""Detectors of mmdet that call the less common operators: a step of training and a prediction with each."""

import pytest
import torch

pytest.importorskip('mmcv.ops')
pytest.importorskip('mmdet')


@pytest.mark.slow
@pytest.mark.parametrize(
    'name',
    [
        'guided_anchoring/ga-retinanet_r50-caffe_fpn_1x_coco',  # masked and deformable convolution
        'dyhead/atss_r50_fpn_dyhead_1x_coco',  # offsets of another level
        'dcnv2/faster-rcnn_r50-mdconv-c3-c5_fpn_1x_coco',
        'carafe/faster-rcnn_r50_fpn-carafe_1x_coco',
        'point_rend/point-rend_r50-caffe_fpn_ms-1x_coco',
    ],
)
def test_detector_with_uncommon_operators_trains_a_step_and_predicts(name):
    from mmdet.registry import MODELS
    from mmdet.testing import demo_mm_inputs
    from mmengine.hub import get_config
    from mmengine.registry import init_default_scope

    cfg = get_config(f'mmdet::{name}.py')
    init_default_scope('mmdet')
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model).train()
    data = model.data_preprocessor(
        demo_mm_inputs(
            1, image_shapes=[(3, 128, 160)], num_items=[3], num_classes=80, with_mask='mask_head' in str(cfg.model)
        ),
        True,
    )
    loss = model.parse_losses(model(**data, mode='loss'))[0]
    loss.backward()
    assert loss.isfinite() and any(p.grad is not None and p.grad.any() for p in model.backbone.parameters())
    with torch.no_grad():
        (result,) = model.eval()(**data, mode='predict')
    assert result.pred_instances.bboxes.isfinite().all()
