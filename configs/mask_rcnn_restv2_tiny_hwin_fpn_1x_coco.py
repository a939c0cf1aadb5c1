# The fine-tuning style hwin: windows, but the last block of each stage is global.
_base_ = 'mask_rcnn_restv2_tiny_fpn_1x_coco.py'

model = dict(backbone=dict(style='hwin'))
