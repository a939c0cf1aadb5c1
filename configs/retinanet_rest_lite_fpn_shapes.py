# The demo: ResT-Lite from scratch on drawn shapes, a few minutes on a CPU. The neck and head are narrow
# and the anchors small, as fits 128x128 images.
_base_ = [
    '_base_/models/retinanet_rest_fpn.py',
    '_base_/datasets/shapes_detection.py',
    '_base_/det_runtime.py',
]

model = dict(
    data_preprocessor=dict(mean=[127.5] * 3, std=[64.0] * 3),
    backbone=dict(arch='lite', drop_path_rate=0.0),
    neck=dict(in_channels=[128, 256, 512], out_channels=64, num_outs=3),
    bbox_head=dict(
        num_classes=4,
        in_channels=64,
        feat_channels=64,
        stacked_convs=2,
        anchor_generator=dict(octave_base_scale=3, ratios=[1.0], strides=[8, 16, 32])),
    test_cfg=dict(nms_pre=200, max_per_img=50))

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=10, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    clip_grad=dict(max_norm=10.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', by_epoch=True, T_max=10, eta_min=1e-5, convert_to_iter_based=True),
]
auto_scale_lr = dict(enable=False, base_batch_size=16)

default_hooks = dict(logger=dict(interval=10), checkpoint=dict(max_keep_ckpts=1))
randomness = dict(seed=0)
