# No head interaction: neither the 1x1 convolution nor InstanceNorm.
_base_ = 'rest_lite_8xb256-ablation_in1k.py'

model = dict(backbone=dict(type='ResTAblation', head_interaction='none'))
