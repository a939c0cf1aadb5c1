# mmseg's SegFormer head on ResT-Small.
_base_ = 'mmseg::segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py'

custom_imports = dict(imports=['mmrest'], allow_failed_imports=False)
model = dict(
    backbone=dict(
        _delete_=True,
        type='ResT',
        arch='small',
        drop_path_rate=0.1,
        init_cfg=dict(type='Pretrained', checkpoint='rest_small.pth'),
    ),
    decode_head=dict(in_channels=[64, 128, 256, 512]),
)
