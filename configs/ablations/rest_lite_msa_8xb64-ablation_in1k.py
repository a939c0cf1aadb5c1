# Standard multi-head self-attention: no spatial reduction and no head interaction.
_base_ = 'rest_lite_8xb256-ablation_in1k.py'

model = dict(backbone=dict(type='ResTAblation', attention='msa'))

# The paper uses batch size 512 here and 2048 otherwise; the learning rate is 0.1 per 512 images.
train_dataloader = dict(batch_size=64)
optim_wrapper = dict(optimizer=dict(lr=0.1))
auto_scale_lr = dict(base_batch_size=512)
