# Not in the paper; the recipe of Small and Base.
_base_ = [
    '_base_/models/upernet_restv2.py',
    '_base_/datasets/ade20k_512x512.py',
    '_base_/schedules/adamw_160k_layer_decay.py',
    '_base_/seg_runtime.py',
]

model = dict(
    backbone=dict(arch='large', drop_path_rate=0.5),
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
    auxiliary_head=dict(in_channels=512),
)
