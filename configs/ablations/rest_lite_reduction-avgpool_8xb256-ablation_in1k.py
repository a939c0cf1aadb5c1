# Spatial reduction of keys and values by average pooling.
_base_ = 'rest_lite_8xb256-ablation_in1k.py'

model = dict(backbone=dict(type='ResTAblation', reduction='avgpool'))
