_base_ = ['../restv2_tiny_8xb256_in1k.py', '_base_/imagenet.py']

test_dataloader = dict(dataset=dict(pipeline=_base_.crop_224_pipeline))
custom_hooks = []  # no moving average: the file holds the weights to test
