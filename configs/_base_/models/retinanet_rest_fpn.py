# RetinaNet on ResT. The FPN starts at stage 2, so stage 1 is not emitted: a norm on it would never
# get a gradient. P6 is computed from the backbone's last stage (mmdet's 'on_input').
# A config that inherits this sets the backbone's arch and drop_path_rate and the neck's in_channels.
_base_ = 'mmdet::_base_/models/retinanet_r50_fpn.py'

model = dict(
    backbone=dict(_delete_=True, type='ResT', arch='small', out_indices=(1, 2, 3), drop_path_rate=0.1),
    neck=dict(in_channels=[128, 256, 512], start_level=0),
)
