# Image loading and preprocessing of detectron2 for testing, where it differs from mmdet's configs.

# Resizing by Pillow, which antialiases when downsampling; OpenCV does not.
detectron2_pipeline = [
    dict(type='LoadImageFromFile', backend_args=None),
    dict(type='Resize', scale=(1333, 800), keep_ratio=True, backend='pillow'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
# Default of detectron2, used for training the ResT detectors: BGR without division by std.
detectron2_pixels = dict(mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0], bgr_to_rgb=False)
