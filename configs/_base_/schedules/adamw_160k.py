# Segmentation recipe of ResTv2-Tiny: AdamW, 160k iterations, linear warm-up, then linear decay to 0.
# The base batch size is 16.
_base_ = 'mmseg::_base_/schedules/schedule_160k.py'

optimizer = None  # the inherited one is not used
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=6e-5, betas=(0.9, 0.999), weight_decay=0.01),
    paramwise_cfg=dict(norm_decay_mult=0.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type='PolyLR', eta_min=0.0, power=1.0, begin=1500, end=160000, by_epoch=False),
]
auto_scale_lr = dict(enable=False, base_batch_size=16)

default_hooks = dict(
    checkpoint=dict(max_keep_ckpts=3, save_best='mIoU'), invalid_loss=dict(type='InvalidLossHook')
)  # stops training at a NaN or infinite loss
