# mmdet's RetinaNet on ResT-Small. The FPN takes stages 2 to 4; `mmrest export` writes the whole detector.
_base_ = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'

custom_imports = dict(imports=['mmrest'], allow_failed_imports=False)
model = dict(
    backbone=dict(
        _delete_=True,  # or the arguments of ResNet would be kept
        type='ResT',
        arch='small',
        out_indices=(1, 2, 3),
        drop_path_rate=0.1,
        init_cfg=dict(type='Pretrained', checkpoint='rest_small.pth'),
    ),
    neck=dict(in_channels=[128, 256, 512], start_level=0),
)

# Transformers learn with AdamW; the inherited SGD with its rate of 0.01 is for ResNet.
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-4, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
