# ADE20K. Training: shorter side 512, scaled by 0.5 to 2, random crop of 512x512.
_base_ = 'mmseg::_base_/datasets/ade20k.py'

# The base batch size of 16 is 8 GPUs x 2 images. For another one, use --auto-scale-lr.
train_dataloader = dict(batch_size=2)

# Test-time augmentation of the papers' mIoU: six scales of the test size, each with its mirror image. (The pipeline of
# mmseg scales the original image instead.)
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
