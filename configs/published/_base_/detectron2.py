# How detectron2 reads and prepares images for testing, where mmdet's own configs differ.

# Pillow resizes; it averages over pixels when it shrinks an image, OpenCV does not.
detectron2_pipeline = [
    dict(type='LoadImageFromFile', backend_args=None),
    dict(type='Resize', scale=(1333, 800), keep_ratio=True, backend='pillow'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
# The default of detectron2, which the ResT detectors were trained with: BGR, and no division.
detectron2_pixels = dict(mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0], bgr_to_rgb=False)
