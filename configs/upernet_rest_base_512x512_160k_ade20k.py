# Not in the ResT paper; the recipe of ResTv2-Tiny.
_base_ = [
    '_base_/models/upernet_restv2.py',
    '_base_/datasets/ade20k_512x512.py',
    '_base_/schedules/adamw_160k.py',
    '_base_/seg_runtime.py',
]

model = dict(
    backbone=dict(type='ResT', arch='base', drop_path_rate=0.2),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384),
)
