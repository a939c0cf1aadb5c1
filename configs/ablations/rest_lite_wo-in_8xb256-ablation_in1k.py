# Heads interact through the 1x1 convolution; no InstanceNorm after it.
_base_ = 'rest_lite_8xb256-ablation_in1k.py'

model = dict(backbone=dict(type='ResTAblation', head_interaction='conv'))
