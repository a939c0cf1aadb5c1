# The demo detector on smaller images with a shorter schedule, for repeated trainings with tools/run_ablation.py.
_base_ = '../retinanet_rest_lite_fpn_shapes.py'

resize = dict(type='Resize', scale=(96, 96), keep_ratio=True)
train_pipeline = [resize if step['type'] == 'Resize' else step for step in _base_.train_pipeline]
test_pipeline = [resize if step['type'] == 'Resize' else step for step in _base_.test_pipeline]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

model = dict(backbone=dict(type='ResTAblation'), bbox_head=dict(anchor_generator=dict(octave_base_scale=2)))

max_epochs = 2
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', T_max=max_epochs, eta_min=1e-5, convert_to_iter_based=True),
]
default_hooks = dict(checkpoint=dict(save_best=None))
