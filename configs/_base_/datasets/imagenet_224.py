# ImageNet-1k at 224x224. Training: RandAugment and random erasing. Evaluation: resize to 256, center crop.
_base_ = 'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py'

data_root = 'data/imagenet'  # contains train/<class>/ and val/<class>/, or meta/*.txt in addition
# The base batch size of 2048 is 8 GPUs x 256 images. For another one, use --auto-scale-lr.
# mmpretrain's own tool adds the last three settings to every config.
loader = dict(batch_size=256, pin_memory=True, persistent_workers=True, collate_fn=dict(type='default_collate'))
train_dataloader = loader
val_dataloader = loader
test_dataloader = loader
