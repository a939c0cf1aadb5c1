# Head interaction by the 1x1 convolution, without InstanceNorm.
_base_ = 'rest_lite_8xb256-ablation_in1k.py'

model = dict(backbone=dict(type='ResTAblation', head_interaction='conv'))
