# Position encoding GL as in the text of the paper: x + pointwise convolution of x.
_base_ = 'rest_lite_8xb256-ablation_in1k.py'

model = dict(backbone=dict(type='ResTAblation', position='gl'))
