# ImageNet-1k at 224x224 with random crop and flip only, as in the ablations of the ResT paper.
_base_ = 'mmpretrain::_base_/datasets/imagenet_bs32.py'

data_root = 'data/imagenet'
# mmpretrain's own tool adds the last three settings to every config.
loader = dict(batch_size=256, pin_memory=True, persistent_workers=True, collate_fn=dict(type='default_collate'))
train_dataloader = loader
val_dataloader = loader
test_dataloader = loader
