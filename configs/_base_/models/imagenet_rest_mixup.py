# Image classifier with Mixup or CutMix and label smoothing, as in the papers' full recipes.
_base_ = 'imagenet_rest.py'

model = dict(
    head=dict(loss=dict(_delete_=True, type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]),
)
