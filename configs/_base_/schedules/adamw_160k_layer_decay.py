# Segmentation recipe of ResTv2-Small and -Base: stage-wise learning rate decay.
_base_ = 'adamw_160k.py'

optim_wrapper = dict(
    optimizer=dict(lr=1.5e-4, weight_decay=0.05),
    constructor='LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.9),
)
