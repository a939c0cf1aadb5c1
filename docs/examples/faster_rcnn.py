# mmdet's Faster R-CNN on ResT-Small. The FPN takes all four stages.
_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'

custom_imports = dict(imports=['mmrest'], allow_failed_imports=False)
model = dict(
    backbone=dict(
        _delete_=True,  # or the arguments of ResNet would be kept
        type='ResT',
        arch='small',
        drop_path_rate=0.1,
        init_cfg=dict(type='Pretrained', checkpoint='rest_small.pth'),
    ),
    neck=dict(in_channels=[64, 128, 256, 512]),
)

# Transformers learn with AdamW; the inherited SGD with its rate of 0.02 is for ResNet.
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-4, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
