# mmdet's Cascade R-CNN on ResTv2-Tiny, whose attention works inside windows but for the last block of each stage.
_base_ = 'mmdet::cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py'

custom_imports = dict(imports=['mmrest'], allow_failed_imports=False)
model = dict(
    backbone=dict(
        _delete_=True,
        type='ResTv2',
        arch='tiny',
        style='hwin',
        drop_path_rate=0.1,
        init_cfg=dict(type='Pretrained', checkpoint='restv2_tiny.pth'),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-4, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
