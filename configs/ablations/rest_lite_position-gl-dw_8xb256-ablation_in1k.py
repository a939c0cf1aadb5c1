# Position encoding GL as in the authors' code: x + depthwise 3x3 convolution of x.
_base_ = 'rest_lite_8xb256-ablation_in1k.py'

model = dict(backbone=dict(type='ResTAblation', position='gl_dw'))
