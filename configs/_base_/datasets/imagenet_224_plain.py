# ImageNet-1k at 224x224 with random crop and flip only, as in the ablations of the ResT paper.
_base_ = 'mmpretrain::_base_/datasets/imagenet_bs32.py'

data_root = 'data/imagenet'
train_dataloader = dict(batch_size=256)
val_dataloader = dict(batch_size=256)
test_dataloader = val_dataloader
