# The stem of PVT: patches of 4x4 that do not overlap.
_base_ = 'rest_lite_8xb256-ablation_in1k.py'

model = dict(backbone=dict(type='ResTAblation', stem='pvt'))
