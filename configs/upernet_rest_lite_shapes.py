# UPerNet with ResT-Lite from scratch on shapes, in a few minutes on a CPU: narrow heads with GroupNorm. Class weights
# compensate for the large background, without which training is slow to learn the shapes.
_base_ = [
    '_base_/models/upernet_restv2.py',
    '_base_/datasets/shapes_segmentation.py',
    '_base_/schedules/adamw_160k.py',
    '_base_/seg_runtime.py',
]

head = dict(
    channels=64,
    num_classes=5,
    norm_cfg=dict(_delete_=True, type='GN', num_groups=16),
    loss_decode=dict(class_weight=[0.1, 1.0, 1.0, 1.0, 1.0]),
)
model = dict(
    data_preprocessor=dict(mean=[127.5] * 3, std=[64.0] * 3, size=(128, 128)),
    backbone=dict(type='ResT', arch='lite', drop_path_rate=0.0),
    decode_head=dict(in_channels=[64, 128, 256, 512], **head),
    auxiliary_head=dict(in_channels=256, **head),
)

max_iters = 2000
train_cfg = dict(max_iters=max_iters, val_interval=500)
optim_wrapper = dict(optimizer=dict(lr=1e-3, weight_decay=0.05), clip_grad=dict(max_norm=10.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='PolyLR', eta_min=1e-5, power=1.0, begin=50, end=max_iters, by_epoch=False),
]
auto_scale_lr = dict(base_batch_size=8)
from_scratch = True  # no warning about random weights

default_hooks = dict(logger=dict(interval=25), checkpoint=dict(interval=500, max_keep_ckpts=1))
randomness = dict(seed=0)
