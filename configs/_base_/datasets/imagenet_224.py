# ImageNet-1k at 224x224: RandAugment and random erasing in training; resize to 256 and centre crop in evaluation.
_base_ = 'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py'

data_root = 'data/imagenet'  # holds train/<class>/ and val/<class>/, or meta/*.txt beside them
# The recipe's batch of 2048 is 8 GPUs x 256 images; with another one, give --auto-scale-lr.
train_dataloader = dict(batch_size=256)
val_dataloader = dict(batch_size=256)
test_dataloader = val_dataloader
