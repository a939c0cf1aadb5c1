# RetinaNet with ResT. The FPN starts at stage 2, so stage 1 is not output: its norm would never get a gradient.
# P6 is computed from the last stage of the backbone (mmdet's 'on_input').
# Inheriting configs set the backbone's arch and drop_path_rate and the neck's in_channels.
_base_ = 'mmdet::_base_/models/retinanet_r50_fpn.py'

model = dict(
    backbone=dict(_delete_=True, type='ResT', arch='small', out_indices=(1, 2, 3), drop_path_rate=0.1),
    neck=dict(in_channels=[128, 256, 512], start_level=0),
)
