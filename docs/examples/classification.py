# mmpretrain's Swin recipe on ResT-Small: the last stage's normalised map, its mean, a linear layer.
_base_ = 'mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py'

custom_imports = dict(imports=['mmrest'], allow_failed_imports=False)
model = dict(
    backbone=dict(_delete_=True, type='ResT', arch='small', out_indices=(3,), drop_path_rate=0.1),
    head=dict(in_channels=512),
    init_cfg=None,
)  # the inherited one is for Swin; ResT initialises itself
