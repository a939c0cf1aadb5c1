_base_ = ['../restv2_base_8xb256_in1k.py', '_base_/imagenet.py']

test_dataloader = dict(batch_size=64, dataset=dict(pipeline=_base_.warp_384_pipeline))
custom_hooks = []  # no moving average: the file holds the weights to test
