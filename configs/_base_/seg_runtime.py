# mmseg's runtime, with this package imported so that its backbones are registered.
_base_ = 'mmseg::_base_/default_runtime.py'

custom_imports = dict(imports=['mmrest'], allow_failed_imports=False)
