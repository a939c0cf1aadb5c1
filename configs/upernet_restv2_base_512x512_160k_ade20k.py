_base_ = [
    '_base_/models/upernet_restv2.py',
    '_base_/datasets/ade20k_512x512.py',
    '_base_/schedules/adamw_160k_layer_decay.py',
    '_base_/seg_runtime.py',
]

model = dict(backbone=dict(arch='base', drop_path_rate=0.3))
