# Ablation recipe of the ResT paper: SGD, 100 epochs, learning rate 0.1 per 512 images, 5 warm-up epochs, x 0.1 every
# 30 epochs; here with batch size 2048.
_base_ = 'mmpretrain::_base_/schedules/imagenet_bs2048.py'

optim_wrapper = dict(optimizer=dict(lr=0.1 * 2048 / 512, momentum=0.9, weight_decay=1e-4, nesterov=False))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, begin=0, end=5, convert_to_iter_based=True),
    dict(type='MultiStepLR', by_epoch=True, milestones=[30, 60, 90], gamma=0.1),
]
auto_scale_lr = dict(enable=False, base_batch_size=2048)
from_scratch = True  # no warning about random weights
