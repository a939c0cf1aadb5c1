_base_ = [
    '_base_/models/mask_rcnn_rest_fpn.py',
    '_base_/datasets/coco_instance_ms.py',
    '_base_/schedules/adamw_1x.py',
    '_base_/det_runtime.py',
]

model = dict(
    backbone=dict(type='ResTv2', arch='large', drop_path_rate=0.5), neck=dict(in_channels=[128, 256, 512, 1024])
)
