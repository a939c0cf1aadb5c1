# Plain multi-head self-attention: keys and values at full resolution, heads that do not interact.
_base_ = 'rest_lite_8xb256-ablation_in1k.py'

model = dict(backbone=dict(type='ResTAblation', attention='msa'))

# The authors trained this row with a batch of 512, the others with 2048; the rate is 0.1 for each 512 images.
train_dataloader = dict(batch_size=64)
optim_wrapper = dict(optimizer=dict(lr=0.1))
auto_scale_lr = dict(base_batch_size=512)
