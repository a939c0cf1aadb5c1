# ADE20K: shorter side 512, scaled by 0.5 to 2 and cropped to 512x512 in training.
_base_ = 'mmseg::_base_/datasets/ade20k.py'

# The recipe's batch of 16 is 8 GPUs x 2 images; with another one, give --auto-scale-lr.
train_dataloader = dict(batch_size=2)

# Test-time augmentation of the papers' mIoU: six scales of the test size (mmseg's own pipeline would scale
# the original image instead, whatever its size), each with its mirror image.
img_ratios = [0.5, 0.75, 1.0, 1.25, 1.5, 1.75]
tta_pipeline = [
    dict(type='LoadImageFromFile', backend_args=None),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='Resize', scale=(int(2048 * ratio), int(512 * ratio)), keep_ratio=True) for ratio in img_ratios],
            [dict(type='RandomFlip', prob=prob, direction='horizontal') for prob in (0.0, 1.0)],
            [dict(type='LoadAnnotations')],
            [dict(type='PackSegInputs')],
        ],
    ),
]
