# UPerNet with ResTv2 and an auxiliary head on stage 3; 150 classes as in ADE20K.
# Inheriting configs set the backbone's arch and drop_path_rate and both heads' in_channels.
_base_ = 'mmseg::_base_/models/upernet_swin.py'

data_preprocessor = None  # it is inherited inside the model already
model = dict(
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(_delete_=True, type='ResTv2', arch='tiny', drop_path_rate=0.1),
    decode_head=dict(num_classes=150),
    auxiliary_head=dict(num_classes=150),
)
