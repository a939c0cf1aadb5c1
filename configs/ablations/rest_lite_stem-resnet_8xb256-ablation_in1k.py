# ResNet stem: 7x7/2 convolution and max-pool.
_base_ = 'rest_lite_8xb256-ablation_in1k.py'

model = dict(backbone=dict(type='ResTAblation', stem='resnet'))
