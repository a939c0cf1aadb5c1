# Image classifier on ResT: the last stage's LayerNorm-ed map, its mean, a linear layer.
# A config that inherits this sets the backbone's arch and drop_path_rate and the head's in_channels.
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
