# Runtime of mmpretrain. Importing this package registers its backbones.
_base_ = 'mmpretrain::_base_/default_runtime.py'

custom_imports = dict(imports=['mmrest'], allow_failed_imports=False)

default_hooks = dict(
    checkpoint=dict(interval=1, max_keep_ckpts=3, save_best='auto'), invalid_loss=dict(type='InvalidLossHook')
)  # stops training at a NaN or infinite loss
