# ImageNet-1k as the authors' code for ResTv2 tests on it.

# At 224: the shorter side at 224, then the centre; that code's default is not to crop more.
crop_224_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=224, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
# At 384: the whole image, stretched to a square.
warp_384_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(384, 384), backend='pillow', interpolation='bicubic'),
    dict(type='PackInputs'),
]
