# Mask R-CNN with ResT-Lite from scratch on shapes, in a few minutes on a CPU: small anchors, narrow neck and heads with
# GroupNorm, few proposals.
_base_ = [
    '_base_/models/mask_rcnn_rest_fpn.py',
    '_base_/datasets/shapes_instance.py',
    '_base_/schedules/adamw_shapes.py',
    '_base_/det_runtime.py',
]

norm_cfg = dict(type='GN', num_groups=16)
model = dict(
    data_preprocessor=dict(mean=[127.5] * 3, std=[64.0] * 3),
    backbone=dict(arch='lite', drop_path_rate=0.0),
    neck=dict(in_channels=[64, 128, 256, 512], out_channels=128, num_outs=4, norm_cfg=norm_cfg),
    rpn_head=dict(
        in_channels=128, feat_channels=128, anchor_generator=dict(scales=[6], ratios=[1.0], strides=[4, 8, 16, 32])
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=128),
        bbox_head=dict(in_channels=128, fc_out_channels=256, num_classes=4),
        mask_roi_extractor=dict(out_channels=128),
        mask_head=dict(num_convs=2, in_channels=128, conv_out_channels=128, num_classes=4, norm_cfg=norm_cfg),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=128)),
        rpn_proposal=dict(nms_pre=200, max_per_img=100),
        rcnn=dict(sampler=dict(num=64)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=100), rcnn=dict(max_per_img=50)),
)

default_hooks = dict(logger=dict(interval=25), checkpoint=dict(max_keep_ckpts=1))
randomness = dict(seed=0)
