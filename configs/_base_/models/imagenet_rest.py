# Image classifier with ResT: LayerNorm of the last stage, global average pooling, linear layer.
# Inheriting configs set the backbone's arch and drop_path_rate and the head's in_channels.
model = dict(
    type='ImageClassifier',
    backbone=dict(type='ResT', arch='small', out_indices=(3,), drop_path_rate=0.1),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=512,
        init_cfg=dict(type='TruncNormal', layer='Linear', std=0.02),
        loss=dict(type='CrossEntropyLoss'),
    ),
)
