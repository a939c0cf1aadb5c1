# The ImageNet-1k recipe of ResTv2: 1.5e-4 for each 256 images, 50 warm-up epochs, EMA of the weights. The decay
# of 0.9999 is timm's default, as is averaging BatchNorm's statistics too; the paper prints neither.
_base_ = 'imagenet_adamw_300e.py'

optim_wrapper = dict(optimizer=dict(lr=1.5e-4 * 2048 / 256), clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, begin=0, end=50, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=50, end=300, convert_to_iter_based=True),
]
custom_hooks = [dict(type='EMAHook', momentum=1e-4, update_buffers=True, priority='ABOVE_NORMAL')]
