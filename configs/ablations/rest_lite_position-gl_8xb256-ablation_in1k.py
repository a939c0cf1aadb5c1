# GL as position encoding, as in the text of the paper: x + a linear layer of the channels of x.
_base_ = 'rest_lite_8xb256-ablation_in1k.py'

model = dict(backbone=dict(type='ResTAblation', position='gl'))
