_base_ = [
    '_base_/models/mask_rcnn_rest_fpn.py',
    '_base_/datasets/coco_instance_ms.py',
    '_base_/schedules/adamw_1x.py',
    '_base_/det_runtime.py',
]

model = dict(backbone=dict(arch='small', drop_path_rate=0.1), neck=dict(in_channels=[64, 128, 256, 512]))
