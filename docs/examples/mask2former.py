# mmseg's Mask2Former on ResTv2-Tiny. Its head is built from mmdet's parts, so mmdet must be installed too.
_base_ = 'mmseg::mask2former/mask2former_r50_8xb2-160k_ade20k-512x512.py'

# The inherited list is replaced, not added to: mmdet.models stays in it.
custom_imports = dict(imports=['mmdet.models', 'mmrest'], allow_failed_imports=False)
model = dict(
    backbone=dict(
        _delete_=True,
        type='ResTv2',
        arch='tiny',
        drop_path_rate=0.1,
        init_cfg=dict(type='Pretrained', checkpoint='restv2_tiny.pth'),
    ),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
)
