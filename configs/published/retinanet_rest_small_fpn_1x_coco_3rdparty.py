_base_ = ['../retinanet_rest_small_fpn_1x_coco.py', '_base_/detectron2.py']

model = dict(
    data_preprocessor=_base_.detectron2_pixels, backbone=dict(out_norm='trunk'), neck=dict(relu_before_extra_convs=True)
)
test_dataloader = dict(dataset=dict(pipeline=_base_.detectron2_pipeline))
