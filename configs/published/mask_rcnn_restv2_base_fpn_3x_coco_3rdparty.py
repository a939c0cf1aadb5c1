_base_ = ['../mask_rcnn_restv2_base_fpn_3x_coco.py', '_base_/detectron2.py']

test_dataloader = dict(dataset=dict(pipeline=_base_.detectron2_pipeline))
