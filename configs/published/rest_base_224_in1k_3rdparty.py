# The evaluation of the training config is the authors': shorter side 256, central 224x224.
_base_ = '../rest_base_8xb256_in1k.py'
