# The evaluation of the inherited config is that of the authors: shorter side 256, center crop of 224x224.
_base_ = '../rest_large_8xb256_in1k.py'
