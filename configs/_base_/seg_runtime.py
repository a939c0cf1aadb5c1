# Runtime of mmseg. Importing this package registers its backbones.
_base_ = 'mmseg::_base_/default_runtime.py'

custom_imports = dict(imports=['mmrest'], allow_failed_imports=False)
