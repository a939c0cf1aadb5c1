# Fine-tuning style 'win': window attention.
_base_ = 'mask_rcnn_restv2_tiny_fpn_1x_coco.py'

model = dict(backbone=dict(style='win'))
