_base_ = ['../upernet_restv2_small_512x512_160k_ade20k.py', '_base_/ade20k_multiple_of_32.py']

test_dataloader = dict(dataset=dict(pipeline=_base_.aligned_pipeline))
tta_pipeline = _base_.aligned_tta_pipeline
