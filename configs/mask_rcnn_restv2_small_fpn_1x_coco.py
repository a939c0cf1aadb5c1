_base_ = [
    '_base_/models/mask_rcnn_rest_fpn.py',
    '_base_/datasets/coco_instance_ms.py',
    '_base_/schedules/adamw_1x.py',
    '_base_/det_runtime.py',
]

model = dict(backbone=dict(type='ResTv2', arch='small', drop_path_rate=0.2), neck=dict(in_channels=[96, 192, 384, 768]))
