# ResT-Lite as in the ablations of the ResT paper (Tables 5 to 9): 100 epochs of SGD, plain augmentation.
_base_ = [
    '../_base_/models/imagenet_rest.py',
    '../_base_/datasets/imagenet_224_plain.py',
    '../_base_/schedules/imagenet_sgd_100e.py',
    '../_base_/cls_runtime.py',
]

model = dict(backbone=dict(arch='lite', drop_path_rate=0.0))
