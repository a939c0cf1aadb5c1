# Fine-tuning style 'cwin': window attention, and a convolution across windows after each stage.
_base_ = 'mask_rcnn_restv2_tiny_fpn_1x_coco.py'

model = dict(backbone=dict(style='cwin'))
