_base_ = ['../restv2_base_8xb256_in1k.py', '_base_/imagenet.py']

test_dataloader = dict(dataset=dict(pipeline=_base_.crop_224_pipeline))
custom_hooks = []  # no EMA: the file contains the final weights
