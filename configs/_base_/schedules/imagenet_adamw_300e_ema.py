# ImageNet-1k recipe of ResTv2: learning rate 1.5e-4 per 256 images, 50 warm-up epochs, EMA of the weights. The
# paper does not give the EMA settings: decay 0.9999 and averaged BatchNorm statistics are the defaults of timm.
_base_ = 'imagenet_adamw_300e.py'

optim_wrapper = dict(optimizer=dict(lr=1.5e-4 * 2048 / 256), clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, begin=0, end=50, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=50, end=300, convert_to_iter_based=True),
]
custom_hooks = [dict(type='EMAHook', momentum=1e-4, update_buffers=True, priority='ABOVE_NORMAL')]
