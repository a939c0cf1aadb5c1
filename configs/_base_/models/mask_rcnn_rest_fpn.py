# Mask R-CNN with ResT. The FPN takes all four stages.
# Inheriting configs set the backbone's arch and drop_path_rate and the neck's in_channels.
_base_ = 'mmdet::_base_/models/mask-rcnn_r50_fpn.py'

model = dict(
    backbone=dict(_delete_=True, type='ResT', arch='small', drop_path_rate=0.1),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
