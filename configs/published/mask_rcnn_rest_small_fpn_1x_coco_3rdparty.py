_base_ = ['../mask_rcnn_rest_small_fpn_1x_coco.py', '_base_/detectron2.py']

model = dict(data_preprocessor=_base_.detectron2_pixels, backbone=dict(out_norm='trunk'))
test_dataloader = dict(dataset=dict(pipeline=_base_.detectron2_pipeline))
