# COCO with multi-scale training: shorter side 480 to 800, longer side at most 1333.
_base_ = 'mmdet::_base_/datasets/coco_detection.py'

train_pipeline = [
    dict(type='LoadImageFromFile', backend_args=None),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomChoiceResize', scales=[(1333, side) for side in range(480, 801, 32)], keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
# The base batch size of 16 is 8 GPUs x 2 images. For another one, use --auto-scale-lr.
train_dataloader = dict(batch_size=2, dataset=dict(pipeline=train_pipeline))
