# Stochastic depth rate of the paper's detectors.
_base_ = [
    '_base_/models/imagenet_rest_mixup.py',
    '_base_/datasets/imagenet_224.py',
    '_base_/schedules/imagenet_adamw_300e_ema.py',
    '_base_/cls_runtime.py',
]

model = dict(backbone=dict(type='ResTv2', arch='base', drop_path_rate=0.3), head=dict(in_channels=768))
