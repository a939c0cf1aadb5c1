# PVT stem: non-overlapping 4x4 patches.
_base_ = 'rest_lite_8xb256-ablation_in1k.py'

model = dict(backbone=dict(type='ResTAblation', stem='pvt'))
