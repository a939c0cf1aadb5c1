# Demo: ResT-Lite from scratch on shapes, in a few minutes on a CPU. Images and anchors are smaller than for COCO, neck
# and head are narrow, and GroupNorm speeds up the short training.
_base_ = [
    '_base_/models/retinanet_rest_fpn.py',
    '_base_/datasets/shapes_detection.py',
    '_base_/schedules/adamw_shapes.py',
    '_base_/det_runtime.py',
]

norm_cfg = dict(type='GN', num_groups=16)
model = dict(
    data_preprocessor=dict(mean=[127.5] * 3, std=[64.0] * 3),
    backbone=dict(arch='lite', drop_path_rate=0.0),
    neck=dict(in_channels=[128, 256, 512], out_channels=128, num_outs=3, norm_cfg=norm_cfg),
    bbox_head=dict(
        num_classes=4,
        in_channels=128,
        feat_channels=128,
        stacked_convs=2,
        norm_cfg=norm_cfg,
        anchor_generator=dict(octave_base_scale=3, ratios=[1.0], strides=[8, 16, 32]),
    ),
    test_cfg=dict(nms_pre=200, max_per_img=50),
)

default_hooks = dict(logger=dict(interval=25), checkpoint=dict(max_keep_ckpts=1))
randomness = dict(seed=0)
