# Fine-tuning style 'hwin': window attention, with a global last block in each stage.
_base_ = 'mask_rcnn_restv2_tiny_fpn_1x_coco.py'

model = dict(backbone=dict(style='hwin'))
