# Without LayerNorm of the outputs: Table 10 of the ResT paper.
_base_ = 'retinanet_rest_small_fpn_1x_coco.py'

model = dict(backbone=dict(out_norm='none'))
