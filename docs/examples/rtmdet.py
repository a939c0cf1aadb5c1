# mmdet's RTMDet on ResT-Small. Its neck takes three maps, of strides 8, 16 and 32: the first stage is not emitted.
_base_ = 'mmdet::rtmdet/rtmdet_s_8xb32-300e_coco.py'

custom_imports = dict(imports=['mmrest'], allow_failed_imports=False)
model = dict(
    # RTMDet feeds its own backbone BGR images; the weights of ResT were trained on RGB ones.
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True),
    backbone=dict(
        _delete_=True,
        type='ResT',
        arch='small',
        out_indices=(1, 2, 3),
        drop_path_rate=0.1,
        init_cfg=dict(type='Pretrained', checkpoint='rest_small.pth'),
    ),
    neck=dict(in_channels=[128, 256, 512]),
)
