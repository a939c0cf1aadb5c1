_base_ = [
    '_base_/models/upernet_restv2.py',
    '_base_/datasets/ade20k_512x512.py',
    '_base_/schedules/adamw_160k.py',
    '_base_/seg_runtime.py',
]

model = dict(backbone=dict(arch='tiny', drop_path_rate=0.1))
