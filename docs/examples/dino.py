# mmdet's DINO on ResTv2-Tiny. The neck makes a fourth map from the last of the three that it takes.
_base_ = 'mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py'

custom_imports = dict(imports=['mmrest'], allow_failed_imports=False)
model = dict(
    backbone=dict(
        _delete_=True,
        type='ResTv2',
        arch='tiny',
        out_indices=(1, 2, 3),
        drop_path_rate=0.1,
        init_cfg=dict(type='Pretrained', checkpoint='restv2_tiny.pth'),
    ),
    neck=dict(in_channels=[192, 384, 768]),
)
