# ImageNet-1k at 224x224: RandAugment and random erasing in training; resize to 256 and centre crop in evaluation.
_base_ = 'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py'

data_root = 'data/imagenet'  # holds train/<class>/ and val/<class>/, or meta/*.txt beside them
# The recipe's batch of 2048 is 8 GPUs x 256 images; with another one, give --auto-scale-lr.
# mmpretrain's own tool adds the last three settings to every config.
loader = dict(batch_size=256, pin_memory=True, persistent_workers=True, collate_fn=dict(type='default_collate'))
train_dataloader = loader
val_dataloader = loader
test_dataloader = loader
