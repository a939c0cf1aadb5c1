# Detection recipe of the papers: AdamW, 12 epochs, learning rate x 0.1 after epochs 8 and 11, batch size 16.
# Epochs, milestones, warm-up and base_batch_size are inherited.
_base_ = 'mmdet::_base_/schedules/schedule_1x.py'

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
