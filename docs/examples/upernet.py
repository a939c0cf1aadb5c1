# mmseg's UPerNet on ResTv2-Tiny.
_base_ = 'mmseg::upernet/upernet_r50_4xb4-160k_ade20k-512x512.py'

custom_imports = dict(imports=['mmrest'], allow_failed_imports=False)
model = dict(
    pretrained=None,  # the inherited one is a ResNet's, and would be handed on to the new backbone
    backbone=dict(
        _delete_=True,
        type='ResTv2',
        arch='tiny',
        drop_path_rate=0.1,
        init_cfg=dict(type='Pretrained', checkpoint='restv2_tiny.pth'),
    ),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384),
)

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=6e-5, weight_decay=0.01), paramwise_cfg=dict(norm_decay_mult=0.0)
)
